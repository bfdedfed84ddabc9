"""The watch for collapsed posteriors: a module whose latents say nothing, and whose loss is chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

CHANCE_SHARE = 0.98
"""InfoNCE at or above this share of ln(1 + N) is no better than chance."""
FEWEST_ACTIVE = 0.05
"""Below this share of active units the posterior no longer depends on its input (Burda et al. 2015)."""


class CollapseWarning(NamedTuple):
    """Something to tell about one module."""

    module: int
    """The module's index."""
    collapsed: bool
    """True where it has collapsed, False where it has recovered."""
    message: str
    """One line: what was measured, why it matters, what to do."""


@dataclass
class _State:
    since: int | None = None
    warned: bool = False


class CollapseWatch:
    """Says once when a module has collapsed, and once when it has recovered.

    A module looks collapsed where its InfoNCE is at least CHANCE_SHARE · ln(1 + N) and fewer than
    FEWEST_ACTIVE of its units are active. It counts as collapsed when it has looked so at every observation
    over at least `patience_steps`, all at or after `start_step` (the end of the KL warm-up). Its state is in no
    checkpoint: a continued run starts to count anew.
    """

    def __init__(
        self, modules: Sequence[int], chance: float, patience_steps: int, start_step: int = 0
    ) -> None:
        self._states = {module: _State() for module in modules}
        self._chance = chance
        self._patience_steps = patience_steps
        self._start_step = start_step

    @property
    def modules(self) -> list[int]:
        """Those that are watched, in the order in which `update` takes their measurements."""
        return list(self._states)

    @property
    def collapsed(self) -> list[int]:
        """Modules that count as collapsed now."""
        return [module for module, state in self._states.items() if state.warned]

    def update(self, step: int, nce: Sequence[float], active_units: Sequence[float]) -> list[CollapseWarning]:
        """Take the measurements of one step (nats; shares in [0, 1]), one per watched module; return what is new."""
        if step < self._start_step:
            return []
        new = []
        for (index, state), loss, active in zip(list(self._states.items()), nce, active_units, strict=True):
            # Put so that a value that is not a number counts as no collapse.
            if not (loss >= CHANCE_SHARE * self._chance and active < FEWEST_ACTIVE):
                if state.warned:
                    new.append(self._recovery(index, step, loss, active))
                self._states[index] = _State()
                continue
            if state.since is None:
                state.since = step
            if not state.warned and step - state.since >= self._patience_steps:
                state.warned = True
                new.append(self._collapse(index, step, state.since, loss, active))
        return new

    def _collapse(self, module: int, step: int, since: int, loss: float, active: float) -> CollapseWarning:
        return CollapseWarning(
            module,
            True,
            f"module {module} has collapsed: since step {since} (now {step}) its InfoNCE is {loss:.3f}, "
            f"chance is {self._chance:.3f}, and {active:.1%} of its units are active; lower "
            f"objective.kld_weight, or set objective.kld_warmup_steps or objective.free_bits",
        )

    def _recovery(self, module: int, step: int, loss: float, active: float) -> CollapseWarning:
        return CollapseWarning(
            module,
            False,
            f"module {module} has recovered at step {step}: InfoNCE {loss:.3f} (chance {self._chance:.3f}), "
            f"{active:.1%} of its units active",
        )
