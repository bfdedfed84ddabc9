"""A comparison of groups as a picture: accuracy against depth, a panel for each task, a line for each group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vgim.compare.grouped import GroupedAccuracy, GroupedComparison
from vgim.compare.grouped_table import task_title
from vgim.downstream.pictures import ASIDE
from vgim.plotting import Figure, new_figure

MOST_COLUMNS = 3
MAJORITY = "majority"
GRU = " (GRU)"
BASELINE_STYLES = {"random": "--", "supervised": "-.", "greedy-supervised": (0, (5, 1, 1, 1, 1, 1))}


def grouped_picture(comparison: GroupedComparison) -> Figure:
    """Draw the panels; bars are 95 % intervals over seeds and test utterances. Needs matplotlib.

    A group's baselines have its color. MFCC, and baselines that all groups share, are black.
    """
    tasks = comparison.tasks()
    columns = 2 if len(tasks) == 4 else min(MOST_COLUMNS, max(1, len(tasks)))
    rows = max(1, math.ceil(len(tasks) / columns))
    figure = new_figure(4.6 * columns, 3.6 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    legend: dict[str, Any] = {}
    for (task, variant, part), axes in zip(tasks, panels, strict=False):
        found = [a for a in comparison.accuracies if (a.task, a.variant, a.part) == (task, variant, part)]
        _panel(axes, comparison, found)
        axes.set_title(task_title(comparison, task, variant, part))
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            legend.setdefault(label, handle)
    for axes in panels[len(tasks) :]:
        axes.remove()
    if legend:
        labels = [label for label in (*comparison.columns(), MAJORITY) if label in legend]
        handles = [legend[label] for label in labels]
        figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8)
    return figure


def _panel(axes: Any, comparison: GroupedComparison, found: Sequence[GroupedAccuracy]) -> None:
    names = [group.name for group in comparison.groups]
    colors = {name: f"C{index}" for index, name in enumerate(names)}
    for column in comparison.columns():
        points = [a for a in found if a.column == column]
        if not points:
            continue
        first = points[0]
        if first.depth is None:
            axes.axhline(first.accuracy.mean, color="black", linestyle=":", linewidth=1.4, label=column)
            axes.axhspan(first.accuracy.low, first.accuracy.high, color="black", alpha=0.06, linewidth=0)
            continue
        num_single = len(comparison.depth_names)
        parts = [[a for a in points if ((a.depth or 0) < num_single) is single] for single in (True, False)]
        for part in filter(None, parts):  # no line leads from the deepest module to several modules
            if first.encoder == "trained":
                aside = ASIDE * (names.index(column) - (len(names) - 1) / 2)
                _with_intervals(axes, part, aside, colors[column])
                continue
            shared = len(first.groups) == len(names) > 1
            axes.plot(
                [a.depth for a in part],
                [a.accuracy.mean for a in part],
                linestyle=BASELINE_STYLES[first.encoder],
                marker=".",
                linewidth=1.1,
                alpha=0.8,
                color="black" if shared else colors[first.groups[0]],
                label=column,
            )
    if found[0].majority is not None:
        axes.axhline(found[0].majority, color="gray", linewidth=0.8, label=MAJORITY)
    axes.set_xticks(range(len(comparison.row_names)))
    axes.set_xticklabels([_module_number(name) for name in comparison.row_names])
    axes.set_xlabel(_module_label(comparison.depth_names))
    axes.set_ylabel("accuracy")
    axes.set_ylim(0, 1.02)
    axes.spines[["top", "right"]].set_visible(False)


def _module_number(depth_name: str) -> str:
    """`3` of `module 3 (GRU)`, as in the pictures of probes."""
    return depth_name.removeprefix("module ").removeprefix("modules ").removesuffix(GRU)


def _module_label(depth_names: Sequence[str]) -> str:
    gru = [_module_number(name) for name in depth_names if name.endswith(GRU)]
    return f"module ({', '.join(gru)}: GRU)" if gru else "module"


def _with_intervals(axes: Any, points: Sequence[GroupedAccuracy], aside: float, color: str) -> None:
    y = [a.accuracy.mean for a in points]
    down = [max(0.0, a.accuracy.mean - a.accuracy.low) for a in points]
    up = [max(0.0, a.accuracy.high - a.accuracy.mean) for a in points]
    x = [(a.depth or 0) + aside for a in points]
    axes.errorbar(x, y, [down, up], fmt="o-", ms=4, capsize=2, color=color, label=points[0].column)
