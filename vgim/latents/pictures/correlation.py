"""Pictures of total correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vgim.arrays import F64
from vgim.plotting import Figure, new_figure

if TYPE_CHECKING:
    from vgim.latents.correlation_by_size import SizeMeans


def subsets_picture(groups: Sequence[tuple[str, F64, F64]]) -> Figure:
    """A dot for each subset and a bar for the mean, beside the same subsets with shuffled parts.

    Args:
        groups: A name, and TC in nats of each subset, as it is and shuffled.
    """
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    for position, (_, nats, shuffled) in enumerate(groups):
        for side, values, color, label in (
            (-0.15, nats, "C0", "latents"),
            (0.15, shuffled, "C7", "shuffled"),
        ):
            spread = np.linspace(-0.08, 0.08, len(values))
            axes.scatter(
                position + side + spread, values, s=8, color=color, label=label if position == 0 else None
            )
            axes.hlines(values.mean(), position + side - 0.12, position + side + 0.12, color=color)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), [name for name, *_ in groups])
    axes.set_ylabel("total correlation (nats)")
    figure.legend(loc="outside right upper", fontsize=8)
    return figure


def sizes_picture(means: Sequence[SizeMeans]) -> Figure:
    """Total correlation by number of dimensions: our estimates, and the published one beside its shuffled value."""
    figure = new_figure(9, 4)
    ours, published = figure.subplots(1, 2)
    sizes = [mean.size for mean in means]
    for values, style, label in (
        ([mean.copula_excess for mean in means], "o-", "Gaussian copula"),
        ([mean.split_half_excess for mean in means], "s--", "split halves"),
    ):
        points = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
        if points:
            ours.plot(*zip(*points, strict=True), style, markersize=4, label=label)
    ours.set_title("ours, above the value when shuffled")
    published.plot(
        sizes, [mean.published for mean in means], "o-", markersize=5, label="published", color="C3"
    )
    published.plot(
        sizes,
        [mean.published_shuffled for mean in means],
        "x--",
        markersize=8,
        label="shuffled dimensions (truth: 0)",
        color="C7",
    )
    published.plot(
        sizes, [mean.lone_kernels for mean in means], ":", label="if each kernel were alone", color="black"
    )
    published.set_title("published")
    for axes in (ours, published):
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xscale("log")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.set_xticks([], minor=True)
        axes.set_xlabel("dimensions")
        axes.set_ylabel("total correlation (nats)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    return figure
