"""The picture of total correlations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgim.downstream.pictures import as_png, new_figure

F64 = NDArray[np.float64]


def subsets_picture(groups: Sequence[tuple[str, F64, F64]]) -> bytes:
    """A dot for each subset, its mean as a bar, beside the shuffled ones."""
    drawing = new_figure(7, 4)
    axes = drawing.add_subplot()
    for place, (_, found, shuffled) in enumerate(groups):
        for side, values, color, label in (
            (-0.15, found, "C0", "latents"),
            (0.15, shuffled, "C7", "shuffled"),
        ):
            spread = np.linspace(-0.08, 0.08, len(values))
            axes.scatter(place + side + spread, values, s=8, color=color, label=label if place == 0 else None)
            axes.hlines(values.mean(), place + side - 0.12, place + side + 0.12, color=color)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(groups)), [name for name, *_ in groups])
    axes.set_ylabel("total correlation (nats)")
    drawing.legend(loc="outside right upper", fontsize=8)
    return as_png(drawing)
