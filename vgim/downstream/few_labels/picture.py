"""Accuracy against labeled examples per class as a picture."""

from __future__ import annotations

from vgim.downstream.few_labels.result import FewLabelsResult, curves
from vgim.plotting import Figure, new_figure

STYLES = {
    "trained μ": ("C0", "o-"),
    "trained z": ("C1", "^-"),
    "random": ("C2", "s--"),
    "mfcc": ("black", "d:"),
}


def labels_picture(result: FewLabelsResult) -> Figure:
    """Draw accuracy against labeled examples per class: a line for each kind of features, with 95 % bands."""
    figure = new_figure(7.5, 4)
    axes = figure.add_subplot()
    axes.axhline(result.majority, color="gray", linewidth=0.8, label="majority")
    axes.set_xscale("log")
    axes.set_xlabel("labeled examples per class (of all labels: the mean)")
    axes.set_ylabel("accuracy")
    axes.set_title(result.task if result.module is None else f"{result.task}, module {result.module}")
    num_classes = round(1 / result.chance)
    for name, points in curves(result).items():
        color, style = STYLES[name]
        x = [point.labels_per_class or point.num_labels / num_classes for point in points]
        axes.plot(x, [point.accuracy for point in points], style, color=color, markersize=4, label=name)
        banded = [(value, p.interval) for value, p in zip(x, points, strict=True) if p.interval]
        lows, highs = [end.low for _, end in banded], [end.high for _, end in banded]
        axes.fill_between([value for value, _ in banded], lows, highs, color=color, alpha=0.2, linewidth=0)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", fontsize=8)
    return figure
