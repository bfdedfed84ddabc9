"""Which dimensions of two utterances differ most, moving only some of them, and changing single ones.

Shapes: T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def most_different(a_TC: Tensor, b_TC: Tensor) -> Tensor:
    """Dimensions in order of the mean absolute difference over frames, largest first, [C].

    Differences are in the latents' own unit, in which the prior of `sim` has a deviation of 1. Dividing by the
    posterior's deviation orders the dimensions no better; dividing by the data's is worse where that is near 0. The
    public reference compares means over time, which misses what two utterances do at different times.
    """
    return (a_TC - b_TC).abs().mean(0).argsort(descending=True, stable=True)


def interpolate_dimensions(a_BTC: Tensor, b_BTC: Tensor, share: float, moved: Sequence[int] | None) -> Tensor:
    """The point at `share` of the way from A to B in some dimensions, and A in the others.

    Args:
        moved: Dimensions that move; None for all.
    """
    point_BTC = torch.lerp(a_BTC, b_BTC, share)
    if moved is None:
        return point_BTC
    mixed_BTC = a_BTC.clone()
    mixed_BTC[..., list(moved)] = point_BTC[..., list(moved)]
    return mixed_BTC


def set_dimensions(latents_BTC: Tensor, values: Mapping[int, float], *, add: bool = False) -> Tensor:
    """Latents of which some dimensions have another value, the same in all frames.

    Args:
        values: A value for each dimension that changes, in the latents' own unit.
        add: Add the values to what the dimensions hold instead of replacing it.
    """
    changed_BTC = latents_BTC.clone()
    for dim, value in values.items():
        changed_BTC[..., dim] = latents_BTC[..., dim] + value if add else value
    return changed_BTC
