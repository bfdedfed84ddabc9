"""Pictures of how dimensions are distributed.

Shapes: N frames, C channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I64
from vgim.downstream.pictures import as_png, new_figure
from vgim.latents.frame_sample import F32

F64 = NDArray[np.float64]
NUM_HISTOGRAMS = 12
NUM_BINS = 60
OUTSIDE = 0.001
"""Share of values beyond each end of an axis."""


def kl_picture(kl_C: F64, between_C: F32, within_C: F32) -> bytes:
    """KL as bars, above the two parts of the variance of z as a stack; both in the order given."""
    drawing = new_figure(8, 5)
    top, bottom = drawing.subplots(2, 1, sharex=True)
    at = np.arange(len(kl_C))
    top.bar(at, kl_C, width=1.0, color="C0")
    top.set_ylabel("KL (nats)")
    bottom.bar(at, between_C, width=1.0, color="C2", label="variance of μ over frames")
    bottom.bar(at, within_C, width=1.0, bottom=between_C, color="C7", label="mean of σ²")
    bottom.axhline(1, color="black", linewidth=0.8, linestyle="--", label="N(0, 1)")
    bottom.set_ylabel("variance of z")
    bottom.set_xlabel("dimensions, sorted by KL")
    drawing.legend(loc="outside right upper", fontsize=8)
    return as_png(drawing)


def histograms_picture(z_NC: F32, order_C: I64, said_C: list[str], *, with_normal: bool = True) -> bytes:
    """Histograms of dimensions picked evenly from the order, first and last among them."""
    num = min(NUM_HISTOGRAMS, len(order_C))
    picked = np.unique(np.linspace(0, len(order_C) - 1, num).round().astype(int))
    drawing = new_figure(9, 6)
    for place, i in enumerate(picked):
        axes = drawing.add_subplot(3, 4, place + 1)
        values = z_NC[:, order_C[i]]
        low, high = np.quantile(values, [OUTSIDE, 1 - OUTSIDE])
        if with_normal:
            low, high = min(low, -3.5), max(high, 3.5)
        high = high if high > low else low + 1
        axes.hist(values, bins=NUM_BINS, range=(low, high), density=True, color="C0")
        if with_normal:
            grid = np.linspace(low, high, 200)
            axes.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color="black", linewidth=1)
        axes.set_yticks([])
        axes.tick_params(labelsize=7)
        axes.set_title(f"dimension {order_C[i]}, {said_C[i]}", fontsize=8)
    return as_png(drawing)


def density_picture(z_NC: F32, *, with_normal: bool = True) -> bytes:
    """All dimensions' densities as columns of an image, each scaled to its own peak."""
    low, high = np.quantile(z_NC, [OUTSIDE, 1 - OUTSIDE])
    if with_normal:
        low, high = min(low, -3.5), max(high, 3.5)
    high = high if high > low else low + 1
    edges = np.linspace(low, high, 2 * NUM_BINS + 1)
    columns = [np.histogram(values, edges)[0] for values in z_NC.T]
    if with_normal:
        middle = (edges[1:] + edges[:-1]) / 2
        wide = max(1, len(columns) // 30)
        columns = [np.exp(-(middle**2) / 2)] * wide + [np.zeros_like(middle)] * wide + columns
        shift = 2 * wide
    else:
        shift = 0
    image = np.stack([column / max(column.max(), 1e-12) for column in columns], axis=1)
    drawing = new_figure(9, 4)
    axes = drawing.add_subplot()
    extent = (-shift - 0.5, len(z_NC.T) - 0.5, low, high)
    shown = axes.imshow(image, origin="lower", aspect="auto", cmap="Blues", extent=extent)
    drawing.colorbar(shown, ax=axes, label="density / its peak")
    axes.set_xlabel("dimensions, sorted")
    axes.set_ylabel("value")
    if with_normal:
        axes.text(-shift, high, " N(0, 1)", fontsize=8, va="top")
    return as_png(drawing)
