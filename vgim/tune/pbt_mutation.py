"""Which config keys may change in the middle of a run, and how a sweep's space changes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from vgim.tune.space import Axis, Values

MUTABLE = ("objective.kld_weight", "objective.free_bits", "optim.learning_rate", "optim.clip_norm")
"""All that neither the weights' shapes, nor the data, nor the phases, nor what InfoNCE measures depend on."""
_REASONS = {
    "model": "it decides which weights fit, and members take over each other's",
    "data": "it changes what a step reads, and a member goes on in the middle of another's data",
    "train": "it changes the data's order or the phases, and a member goes on in the middle of another's",
    "optim": "it counts from a run's first epoch, also for a member that comes later",
    "objective": "with another value the metric measures something else, so that members do not compare",
}


def check_mutable(axes: Sequence[Axis]) -> None:
    """Refuse a space with a key that cannot change in the middle of a run.

    Raises:
        ValueError: the key, why, and what to do.
    """
    for axis in axes:
        if axis.key not in MUTABLE:
            reason = _REASONS.get(axis.key.partition(".")[0], "it is no setting of a training step")
            raise ValueError(
                f"space.{axis.key} cannot change in the middle of a run, as scheduler.kind=pbt would have it: "
                f"{reason}; give it one value under overrides, or use scheduler.kind=asha (pbt may change "
                f"{', '.join(MUTABLE)})"
            )


def mutations(axes: Sequence[Axis], seed: int) -> dict[str, Any]:
    """The space as Ray's PopulationBasedTraining takes it: key → a list, or a function that draws anew."""
    generator = np.random.default_rng(seed)

    def draw(axis: Axis) -> Callable[[], float | int]:
        given = axis.range
        assert given is not None
        return lambda: given.at(float(generator.random()))

    return {axis.key: list(axis.values) if axis.range is None else draw(axis) for axis in axes}


def inside(axes: Sequence[Axis], values: Values) -> Values:
    """Perturbed values put back into the space's ranges, with as many digits as drawn ones have."""
    return {axis.key: _inside(axis, values[axis.key]) for axis in axes}


def _inside(axis: Axis, value: Any) -> Any:
    if axis.range is None or axis.is_real:
        return axis.rounded(value)
    return int(min(max(round(value), axis.range.low), axis.range.high))
