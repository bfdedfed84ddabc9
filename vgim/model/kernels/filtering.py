"""Two products with shifted rows by minimal filtering: four matrix products instead of six.

y[t] = x[t] @ w0 + x[t + 1] @ w1 over three neighboring rows is six products. With

    s = (x1 + x2) @ (w0 + w1) / 2
    d = (x1 - x2) @ (w0 - w1) / 2

we have s + d = x1 @ w0 + x2 @ w1 and s - d = x1 @ w1 + x2 @ w0, and four products are enough, the fewest possible:

    y0 = s - d + (x0 - x2) @ w0
    y1 = s + d
    y2 = s - d + (x3 - x1) @ w1

This is F(3, 2) of Winograd (Arithmetic Complexity of Computations, 1980) at the points 0, 1, -1 and infinity: its
only constant is a half, so that the rounding error grows little. Transposed, the same identity gives the gradient of
the taps. The sums are passes over memory, so that filtering pays only for large products.

Shapes: R rows in, T = R - 1 rows out, G = T // 3 groups of three rows, X values in a row, D values in a row out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MIN_ROWS, MIN_WIDTH = 512, 128
"""Fewest rows (all calls together) and values in an output row for which filtering is faster."""


def pays(num_taps: int, num_rows: int, num_out: int) -> bool:
    """Whether `filter_rows` and `TapGradient` apply and are expected to be faster than plain products."""
    return num_taps == 2 and num_rows >= MIN_ROWS and num_out >= MIN_WIDTH


class Taps(NamedTuple):
    """Two taps [X, D], their half sum and their half difference."""

    first: Tensor
    second: Tensor
    half_sum: Tensor
    half_difference: Tensor

    @classmethod
    def of(cls, first_XD: Tensor, second_XD: Tensor) -> Taps:
        """Compute the sums that `filter_rows` needs, once for all of its calls."""
        return cls(first_XD, second_XD, (first_XD + second_XD).mul_(0.5), (first_XD - second_XD).mul_(0.5))


def filter_rows(taps: Taps, rows_RX: Tensor, out_TD: Tensor) -> None:
    """Write out[t] = rows[t] @ first + rows[t + 1] @ second for every row of `out`; both tensors are contiguous."""
    T, D = out_TD.shape
    G = T // 3
    x0, x1, x2, x3 = _phases(rows_RX, G)
    y0, y1, y2 = out_TD[: 3 * G].view(G, 3, D).unbind(1)
    mixed_GX = rows_RX.new_empty(x0.shape)
    y0.addmm_(torch.add(x1, x2, out=mixed_GX), taps.half_sum, beta=0)
    y1.addmm_(torch.sub(x1, x2, out=mixed_GX), taps.half_difference, beta=0)
    torch.sub(y0, y1, out=y2)
    y1.add_(y0)
    y0.copy_(y2)
    y0.addmm_(torch.sub(x0, x2, out=mixed_GX), taps.first)
    y2.addmm_(torch.sub(x3, x1, out=mixed_GX), taps.second)
    rest_TD = out_TD[3 * G :]
    rest_TD.addmm_(rows_RX[3 * G : T], taps.first, beta=0)
    rest_TD.addmm_(rows_RX[3 * G + 1 :], taps.second)


class TapGradient:
    """Gradient of both taps, added up over sequences of rows."""

    def __init__(self, weight_2XD: Tensor) -> None:
        self._plain_2XD = weight_2XD.new_zeros(weight_2XD.shape)
        self._mixed_2XD = weight_2XD.new_zeros(weight_2XD.shape)

    def add(self, rows_RX: Tensor, grad_TD: Tensor) -> None:
        """Add Σ_t rows[t].T @ grad[t] and Σ_t rows[t + 1].T @ grad[t]; both tensors are contiguous."""
        T, D = grad_TD.shape
        G = T // 3
        x0, x1, x2, x3 = _phases(rows_RX, G)
        g0, g1, g2 = grad_TD[: 3 * G].view(G, 3, D).unbind(1)
        outer_GD = g0 + g2
        mixed_GX = rows_RX.new_empty(x0.shape)
        self._plain_2XD[0].addmm_(torch.sub(x0, x2, out=mixed_GX).T, g0)
        self._plain_2XD[1].addmm_(torch.sub(x3, x1, out=mixed_GX).T, g2)
        self._mixed_2XD[0].addmm_(torch.add(x1, x2, out=mixed_GX).T, g1 + outer_GD)
        self._mixed_2XD[1].addmm_(torch.sub(x1, x2, out=mixed_GX).T, g1 - outer_GD)
        for j, plain_XD in enumerate(self._plain_2XD):
            plain_XD.addmm_(rows_RX[3 * G + j : T + j].T, grad_TD[3 * G :])

    def total(self) -> Tensor:
        """The gradient [2, X, D]; call it once, after the last `add`."""
        half_sum, half_difference = self._mixed_2XD.mul_(0.5)
        first, second = self._plain_2XD
        first.add_(half_sum).add_(half_difference)
        second.add_(half_sum).sub_(half_difference)
        return self._plain_2XD


def _phases(rows_RX: Tensor, num_groups: int) -> tuple[Tensor, ...]:
    """Rows 3g, 3g + 1, 3g + 2 and 3g + 3 of every group g, [G, X] each, without a copy."""
    end = 3 * num_groups
    return tuple(rows_RX[i : max(i, end - 2 + i) : 3] for i in range(4))
