"""Distance of two tokens: the mean angle between their frames along the best alignment (dynamic time warping).

Shapes: A, B tokens, R and Q of them at once, S, T frames of the longest, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROWS_AT_ONCE, COLUMNS_AT_ONCE = 64, 256
"""Tokens of similar length whose distances are computed together; half a second of frames takes 164 MB."""


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
    result_AB = x_ASC.new_empty(len(x_ASC), len(y_BTC))
    for rows in torch.split(torch.argsort(length_A, stable=True), ROWS_AT_ONCE):
        x_RSC = x_ASC[rows, : int(length_A[rows[-1]])]
        for columns in torch.split(torch.argsort(length_B, stable=True), COLUMNS_AT_ONCE):
            y_QTC = y_BTC[columns, : int(length_B[columns[-1]])]
            result_AB[rows[:, None], columns] = _warp(
                _angles(x_RSC, y_QTC), length_A[rows], length_B[columns]
            )
    return result_AB


def _angles(x_RSC: Tensor, y_QTC: Tensor) -> Tensor:
    """Angles of all pairs of frames, [S, T, R, Q]: a cell of the warping is one block of memory."""
    cosine = torch.einsum("rsc,qtc->strq", x_RSC, y_QTC)
    return cosine.clamp_(-1, 1).acos_().div_(math.pi)


def _warp(angle_STRQ: Tensor, length_R: Tensor, length_Q: Tensor) -> Tensor:
    num_s, num_t, num_r, num_q = angle_STRQ.shape
    result_RQ = angle_STRQ.new_zeros(num_r, num_q)
    above: list[tuple[Tensor, Tensor]] = []
    for s in range(num_s):
        row: list[tuple[Tensor, Tensor]] = []
        for t in range(num_t):
            before = [above[t - 1]] if s and t else []
            before += [above[t]] if s else []
            before += [row[t - 1]] if t else []
            cost_RQ, steps_RQ = _cheapest(before, angle_STRQ[s, t])
            row.append((cost_RQ, steps_RQ))
            ends_here = (length_R == s + 1)[:, None] & (length_Q == t + 1)
            torch.where(ends_here, cost_RQ / steps_RQ, result_RQ, out=result_RQ)
        above = row
    return result_RQ


def _cheapest(before: list[tuple[Tensor, Tensor]], angle_RQ: Tensor) -> tuple[Tensor, Tensor]:
    """Cost and number of pairs of the cheapest path to a cell; of equal ones the first, the diagonal."""
    if not before:
        return angle_RQ, torch.ones_like(angle_RQ)
    cost_RQ, steps_RQ = before[0]
    for other_cost_RQ, other_steps_RQ in before[1:]:
        is_less = other_cost_RQ < cost_RQ
        cost_RQ = torch.where(is_less, other_cost_RQ, cost_RQ)
        steps_RQ = torch.where(is_less, other_steps_RQ, steps_RQ)
    return cost_RQ + angle_RQ, steps_RQ + 1
