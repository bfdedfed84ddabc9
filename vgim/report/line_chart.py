"""Line charts of a report: series and levels become a `Chart`, with few points and names that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vgim.pages.axes import Format, LinearAxis, Tick
from vgim.pages.chart import Chart, Clipped, EndLabel, Frame, LegendEntry, Line, Point, Whisker, polyline
from vgim.pages.level_labels import ReferenceLine, place_levels

FRAME = Frame(400, 240, left=42, right=378, top=10, bottom=204, text_size=11.5, mark_size=3.4)
MAX_TICKS = 5
MAX_POINTS = 160
"""Points of a line; neighbors of a longer one are averaged, which keeps the page small."""
MAX_DOTS = 40
"""A line with more points has no marks at its points."""
LABEL_GAP = 12.0
FAINT_OUTLIER = 2.0
"""An axis leaves out values of faint lines that are more than this many times what all other values reach."""
OUTLIER = 1.5
"""An axis is cut if its largest value is more than this many times what 98 % of the values reach."""
SHOWN_DIGITS = 4
"""Significant digits of a value that is pointed at."""


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
    is_whole: bool = False
    """Whether every point is drawn, however many there are."""


def line_chart(
    name: str,
    title: str,
    description: str,
    x_label: str,
    series: Sequence[Series],
    levels: Sequence[ReferenceLine] = (),
    y_range: tuple[float, float] | None = None,
    x_ticks: Sequence[float] | None = None,
    x_names: Sequence[str] = (),
    percent: bool = False,
    room: float = 0.0,
    legend: Sequence[LegendEntry] = (),
    point_label: str = "",
    point_names: Mapping[float, str] | None = None,
) -> Chart:
    """Draw series and levels between axes.

    Args:
        y_range: ends of the y axis. By default the axis starts at 0, or at the smallest value if that is negative,
            and ends above 98 % of the values and above every level.
        x_ticks: the only x values with ticks, with some space around them; by default round numbers.
        x_names: names of `x_ticks`; by default the numbers.
        percent: whether y is a share that is written as a percentage.
        point_label: what x is of the point that is pointed at; by default `x_label`.
        point_names: names that are shown instead of some x of points that are pointed at.
        room: space to the right of `x_ticks`, in units of x, for the names of levels.
    """
    xs = [x for line in series for x, _ in line.points]
    ys = [y for line in series for _, y in line.points] + [level.y for level in levels]
    upper_ends = [upper for line in series for _, upper in line.intervals]
    highest = max([0.0, _bulk_maximum(series, levels), *upper_ends, *(level.y for level in levels)])
    low, high = y_range or (min([0.0, *ys]), 1.08 * highest)
    left, right = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if x_ticks is not None:
        left, right = min(x_ticks) - 0.4, max(x_ticks) + 0.4 + room
    x_axis = LinearAxis(left, right, FRAME.left, FRAME.right)
    y_axis = LinearAxis(low, high or 1.0, FRAME.bottom, FRAME.top)
    y_text = _percent if percent else _plain
    x_texts = dict(zip(x_ticks or (), x_names or map(_count, x_ticks or ()), strict=True))
    lines, ends = [], []
    for line in series:
        points = _drawn(line)
        names = (_nearest(x_texts, x) or (point_names or {}).get(x) or _count(x) for x, _ in points)
        values = (f"{name}|{y_text(y, SHOWN_DIGITS)}" for name, (_, y) in zip(names, points, strict=True))
        placed = tuple((x_axis.position(x), y_axis.position(y)) for x, y in points)
        whiskers = tuple(
            Whisker(x, y_axis.position(lower), y_axis.position(upper))
            for (x, _), (lower, upper) in zip(placed, line.intervals, strict=False)
        )
        if placed and line.key:
            ends.append(EndLabel(*placed[-1], line.key, line.color))
        dots = placed if line.kind != "faint" and len(placed) <= MAX_DOTS else ()
        lines.append(Line(polyline(placed), line.color, line.label, line.kind, dots, whiskers, tuple(values)))
    clipped = [mark for line in series for mark in _clipped(line, x_axis, y_axis, y_text)]
    hidden = [y for y in ys if not y_axis.low <= y <= y_axis.high]
    placed_lines = [[(x_axis.position(x), y_axis.position(y)) for x, y in _drawn(s)] for s in series]
    return Chart(
        name=name,
        title=title,
        description=description,
        frame=FRAME,
        x_label=x_label,
        point_label=point_label or x_label,
        x_ticks=x_axis.ticks(MAX_TICKS, _count)
        if x_ticks is None
        else tuple(Tick(x_axis.position(x), text) for x, text in x_texts.items()),
        y_ticks=y_axis.ticks(MAX_TICKS, y_text),
        lines=tuple(lines),
        levels=place_levels([(y_axis.position(level.y), level) for level in levels], FRAME, placed_lines),
        note=_outside(hidden, len(ys) - len(levels), y_text),
        clipped=tuple(clipped),
        end_labels=_spread_apart(ends),
        legend=tuple(legend),
    )


def _drawn(line: Series) -> tuple[Point, ...]:
    return line.points if line.kind == "dots" or line.is_whole else thinned(line.points)


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most MAX_POINTS points: means of neighbors; the last point is kept as it is."""
    if len(points) <= MAX_POINTS:
        return tuple(points)
    size = math.ceil((len(points) - 1) / (MAX_POINTS - 1))
    groups = [points[i : min(i + size, len(points) - 1)] for i in range(0, len(points) - 1, size)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
    return (*means, points[-1])


def _clipped(line: Series, x_axis: LinearAxis, y_axis: LinearAxis, text: Format) -> Iterator[Clipped]:
    """A mark at the edge for each point above or below the axis, one for all that lie close together."""
    last = -math.inf
    for x, y in line.points:
        if y_axis.low <= y <= y_axis.high or x_axis.position(x) - last < FRAME.mark_size:
            continue
        last, is_above = x_axis.position(x), y > y_axis.high
        at, angle = (FRAME.top, 0) if is_above else (FRAME.bottom, 180)
        yield Clipped(last, at, angle, line.color, f"{line.label}, {_count(x)}: {text(y, SHOWN_DIGITS)}")


def _outside(hidden: Sequence[float], num_values: int, text: Format) -> str:
    """A sentence on the values that lie outside the axis; empty if there are none."""
    if not hidden:
        return ""
    low, high = text(min(hidden), SHOWN_DIGITS), text(max(hidden), SHOWN_DIGITS)
    span = low if low == high else f"from {low} to {high}"
    if len(hidden) == 1:
        return f"1 of {num_values} values lies outside the axis, {span}; a triangle marks it."
    return f"{len(hidden)} of {num_values} values lie outside the axis, {span}; triangles mark them."


def _nearest(texts: dict[float, str], x: float) -> str | None:
    """The text of the tick beside a point: points of several lines stand side by side at one tick."""
    return min(((abs(tick - x), text) for tick, text in texts.items()), default=(0.0, None))[1]


def _spread_apart(ends: Sequence[EndLabel]) -> tuple[EndLabel, ...]:
    """Moves labels up or down until they are LABEL_GAP apart."""
    placed: list[EndLabel] = []
    for end in sorted(ends, key=lambda end: (end.y, end.text)):
        free = placed[-1].y + LABEL_GAP if placed else FRAME.top
        y = max(min(max(end.y, FRAME.top), FRAME.bottom), free)
        placed.append(end._replace(x=end.x + 7, y=y))
    excess = max(placed[-1].y - FRAME.bottom, 0.0) if placed else 0.0
    return tuple(end._replace(y=round(end.y - excess, 1)) for end in placed)


def _bulk_maximum(series: Sequence[Series], levels: Sequence[ReferenceLine]) -> float:
    """The largest value that an axis has to show: a spike flattens no curve.

    A spike is above what 98 % of the values do not exceed. Behind other lines a faint line may have one spike however
    few its values are.
    """
    by_kind = {is_faint: [s for s in series if (s.kind == "faint") is is_faint] for is_faint in (True, False)}
    faint, solid = ([y for line in by_kind[kind] for _, y in line.points] for kind in (True, False))
    rest = [*solid, *(level.y for level in levels)]
    if faint and solid:
        spikes = max(len(by_kind[True]), math.ceil(0.02 * len(faint)))
        rest += sorted(filter(math.isfinite, faint))[:-spikes]
        limit = FAINT_OUTLIER * max(filter(math.isfinite, rest), default=math.inf)
        return _largest_but_outliers([*rest, *(y for y in faint if y <= limit)])
    return _largest_but_outliers([*faint, *rest])


def _largest_but_outliers(values: Sequence[float]) -> float:
    """The largest value, or, where that is an outlier, the value that 98 % do not exceed."""
    ordered = sorted(v for v in values if math.isfinite(v))
    if not ordered:
        return 1.0
    most = ordered[min(len(ordered) - 1, math.ceil(0.98 * len(ordered)))]
    return ordered[-1] if ordered[-1] <= OUTLIER * most else most


def _count(value: float, digits: int = SHOWN_DIGITS + 2) -> str:
    # Steps of long runs in full, and means of neighbors too: six digits of 3,521,250 would be 3.52125e+06.
    return f"{value:,.0f}" if 1e5 <= abs(value) < 1e15 else f"{value:,.{digits}g}"


def _plain(value: float, digits: int) -> str:
    return f"{value:.{digits}g}"


def _percent(share: float, digits: int) -> str:
    return f"{100 * share:.{max(digits - 3, 3)}g} %"
