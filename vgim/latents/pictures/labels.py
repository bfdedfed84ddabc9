"""Pictures of the dimensions that carry a label.

Shapes: C channels, K classes.
"""

from __future__ import annotations

import numpy as np

from vgim.arrays import F64, I64
from vgim.plotting import Figure, new_figure

MOST_TICKS = 64
"""An axis with more entries has no names."""


def weights_picture(weight_KC: F64, dimension_C: I64, classes: tuple[str, ...], task: str) -> Figure:
    """A heat map with a row per class and a column per dimension, in the order of `dimension_C`."""
    num_classes, num = weight_KC.shape
    figure = new_figure(9, max(3.0, min(9.0, 1.5 + 0.17 * num_classes)))
    axes = figure.add_subplot()
    limit = float(np.quantile(np.abs(weight_KC), 0.995)) or 1.0
    image = axes.imshow(weight_KC, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    figure.colorbar(image, ax=axes, label="weight × std")
    if num_classes <= MOST_TICKS:
        axes.set_yticks(range(num_classes), classes, fontsize=7)
    if num <= MOST_TICKS:
        axes.set_xticks(range(num), dimension_C.tolist(), fontsize=6, rotation=90)
    axes.set_xlabel("dimension, heaviest first")
    axes.set_title(f"weights of the {task} probe without bias × std of the latents")
    return figure


def ranking_picture(
    mass_C: F64, information_C: F64, by_weight_C: I64, by_information_C: I64, by_chance: float, task: str
) -> Figure:
    """Bars of weight and of mutual information, each largest first, with the information by chance as a line."""
    figure = new_figure(9, 5)
    top, bottom = figure.subplots(2, 1)
    for axes, values_C, order_C, label in (
        (top, mass_C, by_weight_C, "Σ |weight × std|"),
        (bottom, information_C, by_information_C, "information (nats)"),
    ):
        at = np.arange(len(values_C))
        axes.bar(at, values_C[order_C], width=0.9)
        if len(at) <= MOST_TICKS:
            axes.set_xticks(at, order_C.tolist(), fontsize=6, rotation=90)
        axes.set_xlim(-1, len(at))
        axes.set_ylabel(label)
    bottom.axhline(by_chance, color="black", linewidth=0.8, linestyle="--")
    bottom.set_xlabel("dimension")
    top.set_title(task)
    return figure


def concentration_picture(weight_C: F64, information_C: F64, task: str) -> Figure:
    """Cumulative shares of weight and information, beside an even spread."""
    figure = new_figure(6, 4)
    axes = figure.add_subplot()
    at = np.arange(1, len(weight_C) + 1)
    axes.plot(at, weight_C, label="probe's weight")
    axes.plot(at, information_C, label="mutual information")
    axes.plot(at, at / len(at), color="gray", linewidth=0.8, linestyle="--", label="even spread")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("dimensions, heaviest first")
    axes.set_ylabel("share")
    axes.set_title(task)
    axes.legend(loc="lower right", fontsize=8)
    return figure
