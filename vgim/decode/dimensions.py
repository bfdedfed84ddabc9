"""Which dimensions of two utterances differ most, and moving only some of them.

Shapes: T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

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
