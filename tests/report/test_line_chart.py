"""Line charts of a report: thinned lines, names that do not overlap, points within the axes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.report.line_chart import FRAME, LABEL_GAP, MAX_POINTS, ReferenceLine, Series, line_chart, thinned

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
    (_, above, _, _), (_, below, _, _) = chart.levels
    assert below - above > LABEL_GAP


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
