"""Pictures of maps of the latents.

Shapes: N frames, C channels.
"""

from __future__ import annotations

import numpy as np

from vgim.arrays import F32, F64, I64
from vgim.latents.frame_labels import NO_LABEL, Labeling
from vgim.plotting import Figure, new_figure

MOST_IN_LEGEND = 20
"""Colors that the eye tells apart; with more classes, names stand on the map instead of in a legend."""
MOST_NAMES = 50
"""The most frequent classes, which get a name on the map."""


def scatter_picture(xy_N2: F32, labels_N: I64, labeling: Labeling, method: str, *, size: float = 6) -> Figure:
    """Points colored by class, gray without a label. A few classes are named in a legend, many at their medians.

    Args:
        size: Area of a point, in square points.
    """
    from matplotlib import colormaps
    from matplotlib.patheffects import withStroke

    figure = new_figure(7, 6)
    axes = figure.add_subplot()
    unlabeled_N = labels_N == NO_LABEL
    axes.scatter(*xy_N2[unlabeled_N].T, s=size / 2, color="lightgray", linewidths=0)
    present, counts = np.unique(labels_N[~unlabeled_N], return_counts=True)
    few = len(present) <= MOST_IN_LEGEND
    colors = colormaps["tab10" if len(present) <= 10 else "tab20" if few else "gist_rainbow"]
    for number, label in enumerate(present):
        own = xy_N2[labels_N == label]
        color = colors(number if few else number / max(1, len(present) - 1))
        name = labeling.classes[label]
        axes.scatter(*own.T, s=size, color=color, linewidths=0, alpha=0.7, label=name)
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
        figure.legend(loc="outside right upper", fontsize=8, markerscale=3)
    axes.set_title(f"{method} by {labeling.name}")
    return figure


def spectrum_picture(share_C: F64) -> Figure:
    """Cumulative share of the variance over principal components, with a line at 90 %."""
    figure = new_figure(6, 3.5)
    axes = figure.add_subplot()
    axes.plot(np.arange(1, len(share_C) + 1), np.cumsum(share_C), marker=".", markersize=3)
    axes.axhline(0.9, color="gray", linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("principal components")
    axes.set_ylabel("share of the variance")
    return figure
