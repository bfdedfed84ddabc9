"""The config keys that population based training may change during a run, and how it perturbs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vgim.tune.space import SpaceAxis, Values

MUTABLE = (
    "objective.kld_weight",
    "objective.target_rate",
    "objective.free_bits",
    "optim.learning_rate",
    "optim.clip_norm",
)
"""Keys on which neither weight shapes, nor data, nor phases, nor the meaning of InfoNCE depend."""
_REASONS = {
    "model": "it decides which weights fit, and members exploit each other's weights",
    "data": "it changes what a step reads, and a member continues in the middle of another's epoch",
    "train": "it changes the data's order or the phases, and a member continues in the middle of another's phase",
    "optim": "it counts from a run's first epoch, also for a member that gets the value later",
    "objective": "with another value the metric measures something else, so that members do not compare",
}


def check_mutable(axes: Sequence[SpaceAxis]) -> None:
    """Refuse a space with a key that cannot change during a run.

    Raises:
        ValueError: the key, the reason, and the fix.
    """
    for axis in axes:
        if axis.key not in MUTABLE:
            reason = _REASONS.get(axis.key.partition(".")[0], "it is no setting of a training step")
            raise ValueError(
                f"space.{axis.key} cannot change in the middle of a run, but scheduler.kind=pbt would change it: "
                f"{reason}; give it one value under overrides, or use scheduler.kind=asha (pbt may change "
                f"{', '.join(MUTABLE)})"
            )


def mutations(axes: Sequence[SpaceAxis], seed: int) -> dict[str, Any]:
    """The space in the form of Ray's PopulationBasedTraining: key → a list, or a function that draws a new value."""
    from numpy.random import default_rng

    generator = default_rng(seed)

    def draw(axis: SpaceAxis) -> Callable[[], float | int]:
        bounds = axis.range
        assert bounds is not None
        return lambda: bounds.value_at(float(generator.random()))

    return {axis.key: list(axis.values) if axis.range is None else draw(axis) for axis in axes}


def clip_to_space(axes: Sequence[SpaceAxis], values: Values) -> Values:
    """Perturbed values, moved into the space's ranges and rounded like drawn values."""
    return {axis.key: _clip(axis, values[axis.key]) for axis in axes}


def _clip(axis: SpaceAxis, value: Any) -> Any:
    if axis.range is None or axis.is_real:
        return axis.rounded(value)
    return int(min(max(round(value), axis.range.low), axis.range.high))
