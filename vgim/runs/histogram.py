"""Histograms of tensors in TensorBoard's bins, small enough to be sent between ranks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

LARGEST_BIN = 1e19
"""Size of the values that the bins hold; larger ones are counted as this."""
_ABOVE_ZERO = 1e-12 * 1.1 ** np.arange(774)
_EDGES = np.concatenate([-_ABOVE_ZERO[::-1], [0.0], _ABOVE_ZERO])
"""Edges between bins, those that torch's SummaryWriter has: each bin is a tenth wider than the one nearer to 0."""


class Histogram(NamedTuple):
    """How often values fall into bins: JSON values, in the order of the arguments of `add_histogram_raw`."""

    min: float
    max: float
    num: int
    sum: float
    sum_squares: float
    limits: list[float]
    """Upper edge of each bin. The first bin is empty, for the lower edge of the next one."""
    counts: list[int]


def histogram_of(values: Tensor) -> Histogram | None:
    """The histogram of a tensor's finite values; None if it has none."""
    finite = values[values.isfinite()].cpu().double().clamp(-LARGEST_BIN, LARGEST_BIN).numpy()
    if not len(finite):
        return None
    counts, _ = np.histogram(finite, _EDGES)
    first, last = np.flatnonzero(counts)[[0, -1]]
    return Histogram(
        min=float(finite.min()),
        max=float(finite.max()),
        num=len(finite),
        sum=float(finite.sum()),
        sum_squares=float(finite.dot(finite)),
        limits=_EDGES[first : last + 2].tolist(),
        counts=[0, *counts[first : last + 1].tolist()],
    )
