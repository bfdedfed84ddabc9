"""Detect collapsed posteriors: modules whose latents do not depend on the input and whose loss is at chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

CHANCE_SHARE = 0.98
"""A contrastive loss at or above this share of its value at chance counts as chance."""
FEWEST_ACTIVE = 0.05
"""Below this share of active units the posterior no longer depends on its input (Burda et al. 2015)."""


class CollapseWarning(NamedTuple):
    """A module that has collapsed or recovered."""

    module: int
    """The module's index."""
    collapsed: bool
    """True if the module has collapsed, False if it has recovered."""
    message: str
    """One line: what was measured, why it matters, what to do."""


@dataclass
class _State:
    since: int | None = None
    warned: bool = False


class CollapseWatch:
    """Warns once when a module has collapsed, and once when it has recovered.

    A module looks collapsed if its contrastive loss is at least CHANCE_SHARE · chance and fewer than FEWEST_ACTIVE of
    its units are active. It counts as collapsed once every measurement of at least `patience_steps` steps looked
    collapsed. Checkpoints do not hold this count: a continued run starts it anew.

    Args:
        modules: Indices of the modules to watch.
        chance: Contrastive loss of a module that has learned nothing; ln(1 + N) nats for InfoNCE.
        patience_steps: Steps over which a module must look collapsed.
        start_step: First step whose measurements count: the end of the KL warm-up.
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
        """Indices of the watched modules, in the order of `update`'s measurements."""
        return list(self._states)

    @property
    def collapsed(self) -> list[int]:
        """Indices of the modules that count as collapsed now."""
        return [module for module, state in self._states.items() if state.warned]

    def update(self, step: int, nce: Sequence[float], active_units: Sequence[float]) -> list[CollapseWarning]:
        """Add the measurements of one step, one per watched module.

        Args:
            step: Optimizer step.
            nce: Contrastive losses, in the unit of `chance`.
            active_units: Shares of active units, in [0, 1].

        Returns:
            Modules that have collapsed or recovered at this step.
        """
        if step < self._start_step:
            return []
        new = []
        for (index, state), loss, active in zip(list(self._states.items()), nce, active_units, strict=True):
            # In this form, a value that is not a number counts as no collapse.
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
            f"objective.kld_weight, raise objective.target_rate if set, or set objective.kld_warmup_steps or "
            "objective.free_bits",
        )

    def _recovery(self, module: int, step: int, loss: float, active: float) -> CollapseWarning:
        return CollapseWarning(
            module,
            False,
            f"module {module} has recovered at step {step}: InfoNCE {loss:.3f} (chance {self._chance:.3f}), "
            f"{active:.1%} of its units active",
        )
