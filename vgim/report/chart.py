"""Line charts as geometry that a template draws in SVG: the page's own colors, so that light and dark both fit.

Lengths are in the units of the picture's viewBox, WIDTH × HEIGHT.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 42, 378, 10, 204
MOST_POINTS = 160
"""Of a line; more are averaged in groups, which keeps the page small."""
LABEL_GAP = 12.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """What one line shows."""

    key: str
    """Written at the line's end."""
    color: int
    """Number of the color of the page's palette."""
    label: str
    points: tuple[Point, ...]
    kind: str = "line"
    """line; faint: behind the others; dots: marks with intervals, joined by a line."""
    intervals: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Level:
    """A horizontal line with a name."""

    y: float
    label: str
    color: int | None = None


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Drawn:
    """One series as the template needs it."""

    path: str
    kind: str
    color: int
    label: str
    dots: tuple[Point, ...]
    whiskers: tuple[tuple[float, float, float], ...]
    """x, and y of the lower and the upper end."""


@dataclass(frozen=True)
class Chart:
    """A chart that is ready to draw."""

    name: str
    """Unique on the page: names the chart's parts."""
    title: str
    description: str
    """What a reader who does not see it is told."""
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Drawn, ...]
    levels: tuple[tuple[float, float, str, int | None], ...]
    """y of the line, y of its name, name, color."""
    end_labels: tuple[tuple[float, float, str, int], ...]
    """x, y, text, color."""


def draw(
    name: str,
    title: str,
    description: str,
    x_label: str,
    series: Sequence[Series],
    levels: Sequence[Level] = (),
    y_range: tuple[float, float] | None = None,
    x_ticks: Sequence[float] | None = None,
    percent: bool = False,
    room: float = 0.0,
) -> Chart:
    """Place series and levels on axes.

    Args:
        y_range: ends of the y axis; by default from 0, or the least value below it, to what all but 2 % of the values
            stay below.
        x_ticks: the only x values that are named, with some room around; by default round numbers.
        percent: y is a share.
        room: left free at the right of named x values, for the names of levels.
    """
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points] + [level.y for level in levels]
    highest = max([0.0, _bulk_maximum(ys), *(level.y for level in levels)])
    low, high = y_range or (min([0.0, *ys]), 1.08 * highest)
    left, right = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if x_ticks is not None:
        left, right = min(x_ticks) - 0.4, max(x_ticks) + 0.4 + room
    across, up = _scale(left, right, LEFT, RIGHT), _scale(low, high or 1.0, BOTTOM, TOP)
    lines, ends = [], []
    for line in series:
        points = line.points if line.kind == "dots" else thinned(line.points)
        placed = tuple((round(across(x), 1), round(up(y), 1)) for x, y in points)
        whiskers = tuple(
            (placed[i][0], round(up(ends[0]), 1), round(up(ends[1]), 1))
            for i, ends in enumerate(line.intervals)
        )
        path = "M" + "L".join(f"{x:g} {y:g}" for x, y in placed) if placed else ""
        if placed and line.key:
            ends.append((*placed[-1], line.key, line.color))
        few = line.kind != "faint" and len(placed) <= 40
        lines.append(Drawn(path, line.kind, line.color, line.label, placed if few else (), whiskers))
    return Chart(
        name=name,
        title=title,
        description=description,
        x_label=x_label,
        x_ticks=tuple(Tick(round(across(x), 1), f"{x:,.6g}") for x in (x_ticks or ticks(left, right))),
        y_ticks=tuple(
            Tick(round(up(y), 1), f"{100 * y:.3g} %" if percent else f"{y:g}")
            for y in ticks(low, high or 1.0)
        ),
        lines=tuple(lines),
        levels=_level_labels([(round(up(level.y), 1), level.label, level.color) for level in levels]),
        end_labels=_end_labels(ends),
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two ends, `most` of them at most."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    exponent = math.floor(math.log10(span / most))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        step = factor * 10.0**exponent
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        if last - first < most:
            return [round(i * step, 12) for i in range(first, last + 1)]
    return [low, high]


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most MOST_POINTS points: the means of neighbors, the last one kept as it is."""
    if len(points) <= MOST_POINTS:
        return tuple(points)
    size = math.ceil((len(points) - 1) / (MOST_POINTS - 1))
    groups = [points[i : min(i + size, len(points) - 1)] for i in range(0, len(points) - 1, size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return (*means, points[-1])


def _level_labels(
    levels: Sequence[tuple[float, str, int | None]],
) -> tuple[tuple[float, float, str, int | None], ...]:
    """Names above their lines; below, where the name of a line just above would be hit."""
    placed: list[tuple[float, float, str, int | None]] = []
    for y, label, color in sorted(levels, key=lambda level: level[0]):
        close = bool(placed) and y - placed[-1][0] < LABEL_GAP + 2
        placed.append((y, round(y + 12 if close else y - 4, 1), label, color))
    return tuple(placed)


def _end_labels(ends: Sequence[tuple[float, float, str, int]]) -> tuple[tuple[float, float, str, int], ...]:
    """Keys (x, y, text, color) at the right ends of lines, moved apart where ends lie close together."""
    placed: list[tuple[float, float, str, int]] = []
    for x, y, key, color in sorted(ends, key=lambda end: (end[1], end[2])):
        free = placed[-1][1] + LABEL_GAP if placed else TOP
        placed.append((x + 7, max(min(max(y, TOP), BOTTOM), free), key, color))
    over = max(placed[-1][1] - BOTTOM, 0.0) if placed else 0.0
    return tuple((x, round(y - over, 1), key, color) for x, y, key, color in placed)


def _bulk_maximum(values: Sequence[float]) -> float:
    """What 98 % of the values stay below, so that one high start does not flatten the rest."""
    ordered = sorted(v for v in values if math.isfinite(v))
    return ordered[min(len(ordered) - 1, math.ceil(0.98 * len(ordered)))] if ordered else 1.0


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)
