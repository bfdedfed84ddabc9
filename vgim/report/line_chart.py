"""Line charts of a report: series and levels become a `Chart`, with few points and names that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vgim.pages.axes import LinearAxis, Tick
from vgim.pages.chart import Chart, EndLabel, Frame, LegendEntry, LevelLine, Line, Point, Whisker, polyline

FRAME = Frame(400, 240, left=42, right=378, top=10, bottom=204, text_size=11.5, mark_size=3.4)
MAX_TICKS = 5
MAX_POINTS = 160
"""Points of a line; neighbors of a longer one are averaged, which keeps the page small."""
MAX_DOTS = 40
"""A line with more points has no marks at its points."""
LABEL_GAP = 12.0


@dataclass(frozen=True)
class Series:
    """The data of one line."""

    key: str
    """Written at the line's right end; may be empty."""
    color: int
    """Index into the palette."""
    label: str
    points: tuple[Point, ...]
    kind: str = "line"
    """Kind of the `Line`. A line of kind dots keeps every point, however many there are."""
    intervals: tuple[tuple[float, float], ...] = ()
    """Lower and upper end of y at each point; empty for no intervals."""


@dataclass(frozen=True)
class ReferenceLine:
    """A horizontal line with a name."""

    y: float
    label: str
    color: int | None = None


def line_chart(
    name: str,
    title: str,
    description: str,
    x_label: str,
    series: Sequence[Series],
    levels: Sequence[ReferenceLine] = (),
    y_range: tuple[float, float] | None = None,
    x_ticks: Sequence[float] | None = None,
    percent: bool = False,
    room: float = 0.0,
    legend: Sequence[LegendEntry] = (),
) -> Chart:
    """Draw series and levels between axes.

    Args:
        y_range: ends of the y axis. By default the axis starts at 0, or at the smallest value if that is negative,
            and ends above 98 % of the values and above every level.
        x_ticks: the only x values with ticks, with some space around them; by default round numbers.
        percent: whether y is a share that is written as a percentage.
        room: space to the right of `x_ticks`, in units of x, for the names of levels.
    """
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points] + [level.y for level in levels]
    highest = max([0.0, _bulk_maximum(ys), *(level.y for level in levels)])
    low, high = y_range or (min([0.0, *ys]), 1.08 * highest)
    left, right = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if x_ticks is not None:
        left, right = min(x_ticks) - 0.4, max(x_ticks) + 0.4 + room
    x_axis = LinearAxis(left, right, FRAME.left, FRAME.right)
    y_axis = LinearAxis(low, high or 1.0, FRAME.bottom, FRAME.top)
    lines, ends = [], []
    for line in series:
        points = line.points if line.kind == "dots" else thinned(line.points)
        placed = tuple((x_axis.position(x), y_axis.position(y)) for x, y in points)
        whiskers = tuple(
            Whisker(x, y_axis.position(lower), y_axis.position(upper))
            for (x, _), (lower, upper) in zip(placed, line.intervals, strict=False)
        )
        if placed and line.key:
            ends.append(EndLabel(*placed[-1], line.key, line.color))
        dots = placed if line.kind != "faint" and len(placed) <= MAX_DOTS else ()
        lines.append(Line(polyline(placed), line.color, line.label, line.kind, dots, whiskers))
    return Chart(
        name=name,
        title=title,
        description=description,
        frame=FRAME,
        x_label=x_label,
        x_ticks=x_axis.ticks(MAX_TICKS, _count)
        if x_ticks is None
        else tuple(Tick(x_axis.position(x), _count(x)) for x in x_ticks),
        y_ticks=y_axis.ticks(MAX_TICKS, _percent if percent else lambda y: f"{y:g}"),
        lines=tuple(lines),
        levels=_level_lines([(y_axis.position(level.y), level) for level in levels]),
        end_labels=_spread_apart(ends),
        legend=tuple(legend),
    )


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most MAX_POINTS points: means of neighbors; the last point is kept as it is."""
    if len(points) <= MAX_POINTS:
        return tuple(points)
    size = math.ceil((len(points) - 1) / (MAX_POINTS - 1))
    groups = [points[i : min(i + size, len(points) - 1)] for i in range(0, len(points) - 1, size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return (*means, points[-1])


def _level_lines(levels: Sequence[tuple[float, ReferenceLine]]) -> tuple[LevelLine, ...]:
    """Writes each name above its line, or below it if it would hit the name of the line above."""
    placed: list[LevelLine] = []
    for y, level in sorted(levels, key=lambda pair: pair[0]):
        close = bool(placed) and y - placed[-1].y < LABEL_GAP + 2
        placed.append(LevelLine(y, round(y + 12 if close else y - 4, 1), level.label, level.color))
    return tuple(placed)


def _spread_apart(ends: Sequence[EndLabel]) -> tuple[EndLabel, ...]:
    """Moves labels up or down until they are LABEL_GAP apart."""
    placed: list[EndLabel] = []
    for end in sorted(ends, key=lambda end: (end.y, end.text)):
        free = placed[-1].y + LABEL_GAP if placed else FRAME.top
        y = max(min(max(end.y, FRAME.top), FRAME.bottom), free)
        placed.append(end._replace(x=end.x + 7, y=y))
    excess = max(placed[-1].y - FRAME.bottom, 0.0) if placed else 0.0
    return tuple(end._replace(y=round(end.y - excess, 1)) for end in placed)


def _bulk_maximum(values: Sequence[float]) -> float:
    """The value that 98 % of the values do not exceed: one high start must not flatten the rest of a curve."""
    ordered = sorted(v for v in values if math.isfinite(v))
    return ordered[min(len(ordered) - 1, math.ceil(0.98 * len(ordered)))] if ordered else 1.0


def _count(value: float) -> str:
    return f"{value:,.6g}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
