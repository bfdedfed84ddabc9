"""Pictures of the distribution of each dimension.

Shapes: N frames, C channels.
"""

from __future__ import annotations

import numpy as np

from vgim.arrays import F32, F64, I64
from vgim.plotting import Figure, new_figure

NUM_HISTOGRAMS = 12
NUM_BINS = 60
OUTSIDE = 0.001
"""Share of the values that an axis cuts off at each end."""


def kl_picture(kl_C: F64, between_C: F32, within_C: F32) -> Figure:
    """Bars of the KL of each dimension, above stacked bars of the two parts of the variance of z.

    Args:
        kl_C: KL in nats, in the order to show.
        between_C: Variance of μ over frames.
        within_C: Mean of σ².
    """
    figure = new_figure(8, 5)
    top, bottom = figure.subplots(2, 1, sharex=True)
    at = np.arange(len(kl_C))
    top.bar(at, kl_C, width=1.0, color="C0")
    top.set_ylabel("KL (nats)")
    bottom.bar(at, between_C, width=1.0, color="C2", label="variance of μ over frames")
    bottom.bar(at, within_C, width=1.0, bottom=between_C, color="C7", label="mean of σ²")
    bottom.axhline(1, color="black", linewidth=0.8, linestyle="--", label="N(0, 1)")
    bottom.set_ylabel("variance of z")
    bottom.set_xlabel("dimensions, largest KL first")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def histograms_picture(z_NC: F32, order_C: I64, label_C: list[str], *, with_normal: bool = True) -> Figure:
    """Histograms of dimensions picked evenly from `order_C`, including its first and last.

    Args:
        label_C: Text beside the number of each dimension in `order_C`.
        with_normal: Also draws the density of N(0, 1).
    """
    num = min(NUM_HISTOGRAMS, len(order_C))
    picked = np.unique(np.linspace(0, len(order_C) - 1, num).round().astype(int))
    figure = new_figure(9, 6)
    for number, i in enumerate(picked, start=1):
        axes = figure.add_subplot(3, 4, number)
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
        axes.set_title(f"dimension {order_C[i]}, {label_C[i]}", fontsize=8)
    return figure


def density_picture(z_NC: F32, *, with_normal: bool = True) -> Figure:
    """An image with the density of each dimension as a column, scaled to its own peak.

    Args:
        with_normal: Also draws N(0, 1), in columns at the left edge.
    """
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
    figure = new_figure(9, 4)
    axes = figure.add_subplot()
    extent = (-shift - 0.5, len(z_NC.T) - 0.5, low, high)
    shown = axes.imshow(image, origin="lower", aspect="auto", cmap="Blues", extent=extent)
    figure.colorbar(shown, ax=axes, label="density / its peak")
    axes.set_xlabel("dimensions, in order")
    axes.set_ylabel("value")
    if with_normal:
        axes.text(-shift, high, " N(0, 1)", fontsize=8, va="top")
    return figure
