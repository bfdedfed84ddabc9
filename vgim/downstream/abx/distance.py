"""Distance of two tokens: the mean angle between their frames along the best alignment (dynamic time warping).

Shapes: A, B tokens, S, T frames of the longest, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

VALUES_AT_ONCE = 2**24
"""Angles that are in memory at once, 64 MiB."""


def distances(x_ASC: Tensor, length_A: Tensor, y_BTC: Tensor, length_B: Tensor) -> Tensor:
    """Distances of all pairs, [A, B], in half turns: 0 for the same directions, 1 for opposite ones.

    As Schatz et al. (2013) define them for the ABX task: the cost of the cheapest monotonic path, over its number of
    pairs of frames.

    Args:
        x_ASC: Frames of norm 1; behind a token's last frame they have no meaning.
        length_A: Frames of each token.
        y_BTC: Frames of norm 1 of the other tokens.
        length_B: Their numbers.
    """
    pairs = x_ASC.shape[1] * y_BTC.shape[0] * y_BTC.shape[1]
    rows = max(1, VALUES_AT_ONCE // max(1, pairs))
    parts = [
        _warp(_angles(x_RSC, y_BTC), length_R, length_B)
        for x_RSC, length_R in zip(x_ASC.split(rows), length_A.split(rows), strict=True)
    ]
    return torch.cat(parts) if parts else x_ASC.new_empty(0, len(y_BTC))


def _angles(x_RSC: Tensor, y_BTC: Tensor) -> Tensor:
    """Angles of all pairs of frames, [S, T, R, B]: a cell of the warping is one block of memory."""
    cosine = torch.einsum("rsc,btc->strb", x_RSC, y_BTC)
    return cosine.clamp_(-1, 1).acos_().div_(math.pi)


def _warp(angle_STRB: Tensor, length_R: Tensor, length_B: Tensor) -> Tensor:
    num_s, num_t, num_r, num_b = angle_STRB.shape
    result_RB = angle_STRB.new_zeros(num_r, num_b)
    above: list[tuple[Tensor, Tensor]] = []
    for s in range(num_s):
        row: list[tuple[Tensor, Tensor]] = []
        for t in range(num_t):
            before = [above[t - 1]] if s and t else []
            before += [above[t]] if s else []
            before += [row[t - 1]] if t else []
            cost_RB, steps_RB = _cheapest(before, angle_STRB[s, t])
            row.append((cost_RB, steps_RB))
            ends_here = (length_R == s + 1)[:, None] & (length_B == t + 1)
            torch.where(ends_here, cost_RB / steps_RB, result_RB, out=result_RB)
        above = row
    return result_RB


def _cheapest(before: list[tuple[Tensor, Tensor]], angle_RB: Tensor) -> tuple[Tensor, Tensor]:
    """Cost and number of pairs of the cheapest path to a cell; of equal ones the first, the diagonal."""
    if not before:
        return angle_RB, torch.ones_like(angle_RB)
    cost_RB, steps_RB = before[0]
    for other_cost_RB, other_steps_RB in before[1:]:
        is_less = other_cost_RB < cost_RB
        cost_RB = torch.where(is_less, other_cost_RB, cost_RB)
        steps_RB = torch.where(is_less, other_steps_RB, steps_RB)
    return cost_RB + angle_RB, steps_RB + 1
