"""The folder of a study of few labels: result.json, written last, beside its points as CSV and a picture."""

from __future__ import annotations

from vgim.downstream.few_labels.result import LimitedResult, curves, limited_folder_name, points_csv
from vgim.downstream.pictures import as_png, can_draw, new_figure
from vgim.downstream.writing import FOLDER, RESULT
from vgim.storage import Location

POINTS, PICTURE = "points.csv", "labels.png"
LOOKS = {
    "trained μ": ("C0", "o-"),
    "trained z": ("C1", "^-"),
    "random": ("C2", "s--"),
    "mfcc": ("black", "d:"),
}


def write_limited(run: Location, result: LimitedResult) -> Location:
    """Write the study's folder, replacing an earlier one of the same name; returns where it is."""
    path = run.child(FOLDER, limited_folder_name(result))
    path.delete()
    path.child(POINTS).write_bytes_atomic(points_csv(result).encode())
    if can_draw():
        path.child(PICTURE).write_bytes_atomic(labels_picture(result))
    path.child(RESULT).write_bytes_atomic((result.model_dump_json(indent=1) + "\n").encode())
    return path


def labels_picture(result: LimitedResult) -> bytes:
    """Accuracy against labeled examples per class, a line for each features, with 95 % bands, as PNG."""
    figure = new_figure(7.5, 4)
    axes = figure.add_subplot()
    axes.axhline(result.majority, color="gray", linewidth=0.8, label="majority")
    axes.set_xscale("log")
    axes.set_xlabel("labeled examples per class (of all labels: the mean)")
    axes.set_ylabel("accuracy")
    axes.set_title(result.task if result.module is None else f"{result.task}, module {result.module}")
    num_classes = round(1 / result.chance)
    for name, points in curves(result).items():
        color, style = LOOKS[name]
        at = [point.labels_per_class or point.num_labels / num_classes for point in points]
        axes.plot(at, [point.accuracy for point in points], style, color=color, markersize=4, label=name)
        banded = [(x, p.interval) for x, p in zip(at, points, strict=True) if p.interval]
        lows, highs = [end.low for _, end in banded], [end.high for _, end in banded]
        axes.fill_between([x for x, _ in banded], lows, highs, color=color, alpha=0.2, linewidth=0)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside right upper", fontsize=8)
    return as_png(figure)
