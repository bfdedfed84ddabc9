"""The picture of total correlations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vgim.arrays import F64
from vgim.plotting import Figure, new_figure


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
