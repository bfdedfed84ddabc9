"""Pictures of maps of the latents.

Shapes: N frames, C channels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I64
from vgim.downstream.pictures import as_png, new_figure
from vgim.latents.frame_labels import NO_LABEL, Labeling
from vgim.latents.frame_sample import F32

MOST_IN_LEGEND = 20
"""Colors that the eye tells apart; more classes are named where they lie."""
MOST_NAMES = 50
"""Classes beyond these, the rarest, get no name in the picture."""


def scatter_picture(xy_N2: F32, labels_N: I64, labeling: Labeling, way: str) -> bytes:
    """Points colored by class, gray without one; many classes are named at their medians, few in a legend."""
    from matplotlib import colormaps
    from matplotlib.patheffects import withStroke

    drawing = new_figure(7, 6)
    axes = drawing.add_subplot()
    rest = labels_N == NO_LABEL
    axes.scatter(*xy_N2[rest].T, s=3, color="lightgray", linewidths=0)
    present, counts = np.unique(labels_N[~rest], return_counts=True)
    few = len(present) <= MOST_IN_LEGEND
    colors = colormaps["tab20" if few else "gist_rainbow"]
    for number, label in enumerate(present):
        own = xy_N2[labels_N == label]
        color = colors(number if few else number / max(1, len(present) - 1))
        name = labeling.classes[label]
        axes.scatter(*own.T, s=6, color=color, linewidths=0, alpha=0.7, label=name)
        if few or counts[number] < np.sort(counts)[::-1][: MOST_NAMES + 1].min() + (len(counts) > MOST_NAMES):
            continue
        axes.text(
            *np.median(own, 0),
            name,
            fontsize=8,
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
    axes.set_xticks([])
    axes.set_yticks([])
    if few and len(present):
        drawing.legend(loc="outside right upper", fontsize=8, markerscale=3)
    axes.set_title(f"{way} by {labeling.name}")
    return as_png(drawing)


def spectrum_picture(share_C: NDArray[np.float64]) -> bytes:
    """Cumulative share of the variance over principal components."""
    drawing = new_figure(6, 3.5)
    axes = drawing.add_subplot()
    axes.plot(np.arange(1, len(share_C) + 1), np.cumsum(share_C), marker=".", markersize=3)
    axes.axhline(0.9, color="gray", linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("principal components")
    axes.set_ylabel("share of the variance")
    return as_png(drawing)
