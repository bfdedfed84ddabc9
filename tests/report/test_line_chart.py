"""Line charts of a report: thinned lines, names that do not overlap, points within the axes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.pages.level_labels import ReferenceLine
from vgim.report.line_chart import FRAME, LABEL_GAP, MAX_POINTS, Series, line_chart, thinned

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@given(st.lists(FINITE, min_size=1, max_size=2000))
def test_a_thinned_line_keeps_its_end_its_order_and_its_bounds(ys: list[float]) -> None:
    kept = thinned([(float(x), y) for x, y in enumerate(ys)])
    assert len(kept) <= MAX_POINTS
    assert kept[-1] == (len(ys) - 1, ys[-1])
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)
    assert min(ys) - 1e-6 <= min(y for _, y in kept)
    assert max(y for _, y in kept) <= max(ys) + 1e-6


def test_ends_and_levels_are_named_without_overlap() -> None:
    series = [Series(str(n), n, f"module {n}", ((0.0, 1.0), (1.0, 0.5))) for n in range(6)]
    chart = line_chart("c", "t", "d", "x", series, [ReferenceLine(0.3, "a"), ReferenceLine(0.301, "b")])
    heights = sorted(y for _, y, _, _ in chart.end_labels)
    gaps = [b - a for a, b in pairwise(heights)]
    assert min(gaps) == pytest.approx(LABEL_GAP)
    assert heights[-1] <= FRAME.bottom
    first, second = chart.levels
    assert first.anchor != second.anchor or abs(second.text_y - first.text_y) > LABEL_GAP


def test_the_name_of_a_level_does_not_lie_on_the_curves() -> None:
    for is_at_chance in (lambda x: x < 70, lambda x: x > 30, lambda x: True):
        points = tuple((float(x), (2.35 + 0.1 * (x % 2)) if is_at_chance(x) else 1.0) for x in range(100))
        chart = line_chart("c", "t", "d", "x", [Series("", 0, "a", points)], [ReferenceLine(2.398, "chance")])
        (level,), (line,) = chart.levels, chart.lines
        places = [tuple(map(float, place.split())) for place in line.path.lstrip("M").split("L")]
        left = level.text_x - 40 if level.anchor == "end" else level.text_x
        hidden = [
            y for x, y in places if left <= x <= left + 40 and level.text_y - 9 <= y <= level.text_y + 2
        ]
        assert hidden == []


def test_values_outside_the_axes_are_marked_counted_and_named() -> None:
    points = tuple((float(x), 92.1 if x == 50 else 0.5) for x in range(100))
    chart = line_chart("c", "t", "d", "steps", [Series("0", 0, "module 0", points)])
    assert chart.note == "1 of 100 values lies outside the axis, 92.1; a triangle marks it."
    (mark,) = chart.clipped
    assert (mark.y, mark.label) == (FRAME.top, "module 0, 50: 92.1")
    assert line_chart("c", "t", "d", "steps", [Series("0", 0, "m", points[:50])]).note == ""


def test_steps_of_a_long_run_are_written_in_full() -> None:
    points = tuple((float(step), 1.0) for step in range(0, 1_400_001, 50_000))
    chart = line_chart("c", "title", "text", "steps", [Series("0", 0, "module 0", points)])
    assert [tick.text for tick in chart.x_ticks] == ["0", "500,000", "1,000,000"]
    assert chart.lines[0].values[-2:] == ("1,350,000|1", "1,400,000|1")


def test_every_point_of_a_line_has_its_value() -> None:
    points = tuple((float(x), 1 / (x + 1)) for x in range(500))
    (line,) = line_chart("c", "t", "d", "steps", [Series("0", 0, "module 0", points)]).lines
    assert len(line.values) == line.path.count("L") + 1
    assert line.values[-1] == "499|0.002"


def test_one_high_start_does_not_flatten_the_rest() -> None:
    points = ((0.0, 1000.0), *((float(x), 1.0) for x in range(1, 100)))
    chart = line_chart("c", "t", "d", "x", [Series("0", 0, "module 0", points)])
    assert chart.end_labels[0][1] < (FRAME.top + FRAME.bottom) / 2


def test_a_level_far_above_what_was_reached_lies_within_the_axes() -> None:
    points = tuple((float(x), 0.5) for x in range(200))
    chart = line_chart(
        "c", "t", "d", "x", [Series("0", 0, "module 0", points)], [ReferenceLine(2.398, "chance")]
    )
    (level,) = chart.levels
    assert FRAME.top <= level[0] <= FRAME.bottom


def test_points_lie_within_the_axes() -> None:
    points = tuple((float(x), math.sin(x) + 1) for x in range(20))
    (line,) = line_chart("c", "t", "d", "x", [Series("0", 0, "module 0", points)], y_range=(0, 2)).lines
    assert all(FRAME.left <= x <= FRAME.right and FRAME.top <= y <= FRAME.bottom for x, y in line.dots)


def test_a_spike_of_a_faint_line_does_not_flatten_the_lines_before_it() -> None:
    def chart(spike: float) -> list[str]:
        solid = [Series(str(n), n, f"module {n}", ((34.0, 0.12), (60.0, 0.16))) for n in range(2)]
        faint = [
            Series("", n, f"module {n}, training", tuple((10.0 * x, 0.1) for x in range(7)), "faint")
            for n in range(2)
        ]
        faint[1] = replace(faint[1], points=(*faint[1].points, (40.0, spike)))
        drawn = line_chart("c", "t", "d", "x", [*faint, *solid])
        return [drawn.note, *(mark.label for mark in drawn.clipped)]

    assert chart(1230.0) == [
        "1 of 19 values lies outside the axis, 1230; a triangle marks it.",
        "module 1, training, 40: 1230",
    ]
    assert chart(0.3) == [""]  # less than twice what the other lines reach
