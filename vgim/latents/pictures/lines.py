"""Pictures of lines with bands, and of one curve of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from vgim.arrays import F64
from vgim.latents.result import Curve
from vgim.plotting import Figure, new_figure

Values: TypeAlias = "Sequence[float] | F64"


class CurveLine(NamedTuple):
    """A line, with the two ends of a band around it if there is one."""

    label: str
    x: Values
    y: Values
    low: Values = ()
    high: Values = ()
    style: str = "-"
    """Format string of matplotlib."""


def lines_picture(
    lines: Sequence[CurveLine],
    x_label: str,
    y_label: str,
    title: str,
    *,
    x_scale: str = "linear",
    x_threshold: float = 0.0,
    level: tuple[str, float] | None = None,
) -> Figure:
    """Lines in one picture, each with its band.

    Args:
        x_scale: `linear` or `symlog`. symlog is logarithmic above `x_threshold`, linear from 0 to it, and has a tick
            at every x.
        level: Name and height of a dashed horizontal line.
    """
    figure = new_figure(7, 4)
    axes = figure.add_subplot()
    for number, line in enumerate(lines):
        axes.plot(line.x, line.y, line.style, color=f"C{number}", label=line.label, markersize=4)
        if len(line.low):
            axes.fill_between(line.x, line.low, line.high, color=f"C{number}", alpha=0.15, linewidth=0)
    if level is not None:
        axes.axhline(level[1], color="gray", linewidth=0.8, linestyle="--", label=level[0])
    if x_scale == "symlog":
        axes.set_xscale("symlog", linthresh=x_threshold, linscale=0.4)
        ticks = sorted({float(x) for line in lines for x in line.x})
        axes.set_xticks(ticks, [f"{x:g}" for x in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(left=ticks[0] - 0.2 * x_threshold)
    else:
        axes.set_xscale(x_scale)
    axes.set_ylim(bottom=min(0.0, *(min(line.y) for line in lines)))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title)
    if len(lines) > 1 or level is not None:
        figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    return figure


def overlay_picture(run_curves: Sequence[tuple[str, Curve]]) -> Figure:
    """One curve of several runs, given as pairs of run name and curve."""
    first = run_curves[0][1]
    lines = [CurveLine(name, curve.x, curve.y, curve.low, curve.high) for name, curve in run_curves]
    positive = [x for _, curve in run_curves for x in curve.x if x > 0]
    return lines_picture(
        lines,
        first.x_label,
        first.y_label,
        first.title,
        x_scale="symlog" if first.log_x else "linear",
        x_threshold=min(positive, default=1.0),
    )
