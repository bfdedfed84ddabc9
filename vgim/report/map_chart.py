"""Maps of points in two dimensions, colored by class, whose points name themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import hypot
from statistics import median, quantiles
from typing import NamedTuple

from vgim.pages.axes import LinearAxis
from vgim.pages.chart import (
    NUM_COLORS,
    Chart,
    Clipped,
    Cloud,
    Frame,
    LegendEntry,
    PlacedName,
    Point,
    dots,
)

FRAME = Frame(400, 320, left=8, right=392, top=8, bottom=306, text_size=11.5, mark_size=3.4)
MOST_POINTS = 1500
"""Points of a map; of more, every second, third, … is drawn."""
MOST_IN_LEGEND = 20
MOST_NAMES = 30
"""The most frequent classes, which are named on the map where a legend would be too long."""
SMALLEST, LARGEST = 4.0, 11.0
"""Diameter of a point, for many points and for few."""
BEYOND = 0.5
"""An axis ends this share of its middle 98 % beyond them, or at the last point if that is nearer."""


class MapPoint(NamedTuple):
    """A point, its class (empty for none), and what a reader is told who points at it."""

    x: float
    y: float
    label: str
    name: str
    """The utterance."""
    detail: str


def map_chart(key: str, title: str, points: Sequence[MapPoint], axes: tuple[str, str]) -> Chart:
    """Draw points by class; points without a class are faint. Points far outside are marked at the edge and counted.

    Args:
        key: Unique on the page.
        axes: Names of x and y.
    """
    every = -(-len(points) // MOST_POINTS)
    shown = points[:: max(every, 1)]
    x_axis = _axis([point.x for point in shown], FRAME.left, FRAME.right)
    y_axis = _axis([point.y for point in shown], FRAME.bottom, FRAME.top)
    outside = [
        p for p in shown if not (x_axis.low <= p.x <= x_axis.high and y_axis.low <= p.y <= y_axis.high)
    ]
    is_outside = set(outside)
    inside = [point for point in shown if point not in is_outside]
    names = {name: number for number, name in enumerate(dict.fromkeys(point.name for point in shown))}
    counts = Counter(point.label for point in shown if point.label)
    classes = sorted(counts, key=_natural)
    few = len(classes) <= NUM_COLORS
    color = {
        label: (number, None if few else 360 * number // len(classes)) for number, label in enumerate(classes)
    }
    size = round(min(LARGEST, max(SMALLEST, 120 / max(len(shown), 1) ** 0.5)), 1)

    def place(point: MapPoint) -> Point:
        return x_axis.position(point.x), y_axis.position(point.y)

    clouds, placed = [], []
    for label in ["", *classes]:
        own = [point for point in inside if point.label == label]
        if not own:
            continue
        number, hue = color.get(label, (0, None))
        values = tuple(f"@{names[point.name]}{point.detail}" for point in own)
        text = label or "no label"
        clouds.append(Cloud(dots(map(place, own)), number, hue, text, values, size, is_faint=not label))
    if len(classes) > MOST_IN_LEGEND:
        placed = _names(inside, [label for label, _ in counts.most_common(MOST_NAMES)], x_axis, y_axis)
    notes = []
    if every > 1:
        notes.append(f"{len(shown):,} of {len(points):,} points are drawn.")
    if outside:
        notes.append(_outside(outside, len(shown), axes))
    return Chart(
        name=key,
        title=title,
        description=f"{title}: {len(shown)} points of {len(classes)} classes.",
        frame=FRAME,
        x_label="",
        x_ticks=(),
        y_ticks=(),
        lines=(),
        note=" ".join(notes),
        legend=tuple(LegendEntry(label, *color[label]) for label in classes)
        if len(classes) <= MOST_IN_LEGEND
        else (),
        clipped=tuple(
            _mark(point, x_axis, y_axis, color.get(point.label, (0, None))[0]) for point in outside
        ),
        clouds=tuple(clouds),
        placed_names=tuple(placed),
        names=tuple(name.replace("|", "/") for name in names),  # the page separates names by |
    )


def _axis(values: Sequence[float], start: float, end: float) -> LinearAxis:
    cuts = quantiles(values, n=100) if len(values) > 1 else [*values, *values] or [0.0, 0.0]
    reach = BEYOND * (cuts[-1] - cuts[0])
    low, high = (
        max(min(values, default=0.0), cuts[0] - reach),
        min(max(values, default=0.0), cuts[-1] + reach),
    )
    margin = 6.0 if start < end else -6.0
    return LinearAxis(low, high, start + margin, end - margin)


def _mark(point: MapPoint, x_axis: LinearAxis, y_axis: LinearAxis, color: int) -> Clipped:
    x = x_axis.position(min(max(point.x, x_axis.low), x_axis.high))
    y = y_axis.position(min(max(point.y, y_axis.low), y_axis.high))
    angle = (
        90 if point.x > x_axis.high else 270 if point.x < x_axis.low else 0 if point.y > y_axis.high else 180
    )
    detail = point.detail.replace("|", " ").strip(", ")
    return Clipped(
        x,
        y,
        angle,
        color,
        f"{point.label or 'no label'}\n{point.name}, {detail} at {point.x:.3g}, {point.y:.3g}",
    )


def _outside(outside: Sequence[MapPoint], num: int, axes: tuple[str, str]) -> str:
    spans = [
        f"{axis} {' to '.join(dict.fromkeys(f'{end:.3g}' for end in (min(values), max(values))))}"
        for axis, values in zip(axes, ([p.x for p in outside], [p.y for p in outside]), strict=True)
    ]
    verb, marks = ("lies", "a triangle marks it") if len(outside) == 1 else ("lie", "triangles mark them")
    return f"{len(outside)} of {num:,} points {verb} outside the drawing, at {', '.join(spans)}; {marks}."


def _names(
    points: Sequence[MapPoint], labels: Sequence[str], x_axis: LinearAxis, y_axis: LinearAxis
) -> list[PlacedName]:
    """The names of classes at the points nearest to their medians, the most frequent first; none over another."""
    placed: list[PlacedName] = []
    for label in labels:
        own = [point for point in points if point.label == label]
        middle = median(p.x for p in own), median(p.y for p in own)
        nearest = min(
            own, key=lambda p: hypot(p.x - middle[0], p.y - middle[1])
        )  # a bent class has none in its middle
        x, y = x_axis.position(nearest.x), y_axis.position(nearest.y)
        half = 3.5 * len(label)
        if all(abs(x - other.x) > half + 3.5 * len(other.text) or abs(y - other.y) > 11 for other in placed):
            placed.append(PlacedName(x, y, label))
    return placed


def _natural(label: str) -> tuple[int, int, str]:
    """Numbers in their order, before names."""
    return (0, int(label), "") if label.isdecimal() else (1, 0, label)
