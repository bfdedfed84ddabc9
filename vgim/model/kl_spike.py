"""Detect spikes of the KL divergence: a few frames of a batch that get an enormous variance.

BatchNorm makes an outlier among N frames up to √N standard deviations large in many channels at once. At log σ² = 12,
σ is 400, so that the frame is an outlier to the module after it too, and grows from module to module.
"""

from __future__ import annotations

from collections.abc import Sequence

SPIKE_NATS = 3.0
"""KL per element that no module reaches by learning: modules learn with 0.1 to 1 nats."""
SPIKE_TIMES = 10.0
"""A spike is also so many times the KL before it: no warning of a module whose KL is always large."""
SUGGESTED_BOUND = 4
"""`objective.logvar_max` under which KL stayed below 1 nat per element where it spiked without (docs/training.md)."""


class KlSpikeWatch:
    """Warns when a module's KL has risen at once; once for each module.

    Args:
        modules: Indices of the modules to watch.
        bound: `objective.logvar_max`.
    """

    def __init__(self, modules: Sequence[int], bound: float | str) -> None:
        self._before: dict[int, float | None] = dict.fromkeys(modules)
        self._warned: set[int] = set()
        self._bound = bound

    @property
    def modules(self) -> list[int]:
        """Indices of the watched modules, in the order of `update`'s measurements."""
        return list(self._before)

    def update(
        self, step: int, kl_per_element: Sequence[float | None], grad_norms: Sequence[float | None]
    ) -> list[str]:
        """Warnings after a record.

        Args:
            step: The record's step.
            kl_per_element: KL of each module in nats, the mean over the record's steps; None if it was not finite.
            grad_norms: Norm of each module's gradient, the mean over the record's steps.
        """
        warnings = []
        for (m, before), nats, norm in zip(self._before.items(), kl_per_element, grad_norms, strict=True):
            if nats is not None and nats < SPIKE_NATS:
                self._before[m] = nats
            elif m not in self._warned and (nats is None or nats > SPIKE_TIMES * (before or 0)):
                self._warned.add(m)
                warnings.append(self._message(m, step, before, nats, norm))
        return warnings

    def _message(
        self, module: int, step: int, before: float | None, nats: float | None, norm: float | None
    ) -> str:
        was = "" if before is None else f", after {before:.3g}"
        gradient = "a gradient that is not finite" if norm is None else f"a gradient of norm {norm:.3g}"
        lower = "lower it" if isinstance(self._bound, float) else f"try {SUGGESTED_BOUND}"
        value = "more nats than a number holds" if nats is None else f"{nats:.3g} nats"
        return (
            f"module {module}: the KL per element rose to {value} at step {step}{was}, with {gradient}: a few frames "
            "got an enormous variance, and Adam takes smaller steps for long after; "
            f"objective.logvar_max, which bounds it, is {self._bound}: {lower}"
        )
