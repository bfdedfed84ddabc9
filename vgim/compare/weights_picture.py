"""Densities of probes' weights, a panel for each task and output, a line for each run."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from vgim.arrays import F64
from vgim.compare.comparison import WeightScale
from vgim.compare.weights import ProbeWeights, gini, mass
from vgim.downstream.output import Output
from vgim.plotting import Figure, new_figure

COLUMNS = 3
GRID = 300
OUTSIDE = 0.002
"""Share of the weights that the x axis cuts off at each end, further out than the tail of the others."""
TAIL = 3.0
"""Bandwidths that the x axis goes on behind the weights, where the density of kernels ends."""
SMALLEST_SPREAD = 1e-9
X_LABELS: dict[WeightScale, str] = {
    "standardized": "weight × std of its feature / root mean square",
    "published": "raw weight, −1 to 1 in each class",
}


def weights_picture(probes: Sequence[ProbeWeights], scale: WeightScale) -> Figure:
    """Draw kernel densities (Scott's bandwidth) of the weights of each run, with Gini coefficients over features."""
    of = "" if scale == "standardized" else " (standardized)"
    columns = min(COLUMNS, len(probes))
    rows = math.ceil(len(probes) / columns)
    figure = new_figure(max(5.0, 4.4 * columns), 3.4 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for probe, axes in zip(probes, panels, strict=False):
        weights = {name: weight.flatten() for name, weight in probe.of_scale(scale).items()}
        every = np.concatenate(list(weights.values()))
        tail = TAIL * max(float(values.std()) * len(values) ** -0.2 for values in weights.values())
        low, high = np.quantile(every, [OUTSIDE, 1 - OUTSIDE]) + np.array([-tail, tail])
        grid = np.linspace(low, high if high > low else low + 1, GRID)
        for index, (name, values) in enumerate(weights.items()):
            spread = gini(mass(probe.weights_by_run[name]))
            axes.plot(grid, density(values, grid), color=f"C{index}", label=f"{name}: Gini {spread:.2f}{of}")
        task = f"{probe.key.task} ({probe.key.variant})" if probe.key.variant else probe.key.task
        axes.set_title(f"{task}, {Output(probe.key.module, probe.key.layer).name}", fontsize=10)
        axes.set_xlabel(X_LABELS[scale], fontsize=8)
        axes.set_ylabel("density")
        axes.set_ylim(0, axes.get_ylim()[1] * (1 + 0.09 * len(weights)))  # the legend stands above the lines
        axes.locator_params(axis="x", nbins=5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=7)
    for axes in panels[len(probes) :]:
        axes.remove()
    return figure


def density(values: F64, grid: F64) -> F64:
    """Gaussian kernel density of values on a grid; 0 where all values are the same, which have no density."""
    from scipy.stats import gaussian_kde

    if float(values.std()) < SMALLEST_SPREAD:
        return np.zeros_like(grid)
    return np.asarray(gaussian_kde(values)(grid), np.float64)
