"""Axes: round ticks, and the position of numbers and names."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vgim.pages.axes import CategoryAxis, LinearAxis, LogAxis, axis_for, round_numbers

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@given(FINITE, st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_inside(low: float, span: float) -> None:
    found = round_numbers(low, low + span, 5)
    assert 1 <= len(found) <= 5
    slack = 1e-6 * max(abs(low), span)
    assert all(low - slack <= tick <= low + span + slack for tick in found)
    steps = [b - a for a, b in pairwise(found)]
    assert not steps or math.isclose(min(steps), max(steps), rel_tol=1e-3, abs_tol=1e-9)


def test_numbers_over_decades_get_a_logarithmic_axis_with_ticks_at_powers_of_ten() -> None:
    axis = axis_for([1e-4, 0.03, 0.1], 0, 300)
    assert isinstance(axis, LogAxis)
    assert [(tick.position, tick.text) for tick in axis.ticks(6)] == [
        (0.0, "0.0001"),
        (100.0, "0.001"),
        (200.0, "0.01"),
        (300.0, "0.1"),
    ]


def test_integers_get_ticks_at_integers_alone() -> None:
    axis = axis_for([1, 2, 3], 0, 100)
    assert isinstance(axis, LinearAxis)
    assert [tick.text for tick in axis.ticks(6)] == ["1", "2", "3"]


def test_other_values_lie_at_equal_distances_by_name() -> None:
    axis = axis_for(["a", "b", True, "a"], 0, 100)
    assert isinstance(axis, CategoryAxis)
    assert [(tick.position, tick.text) for tick in axis.ticks(6)] == [
        (0.0, "a"),
        (50.0, "b"),
        (100.0, "true"),
    ]
    assert axis.position(True) == 100.0


def test_a_single_value_lies_in_the_middle() -> None:
    assert axis_for([0.5, 0.5], 0, 100).position(0.5) == 50.0
    assert [tick.text for tick in axis_for([0.5], 0, 100).ticks(6)] == ["0.5"]


def test_ticks_have_as_many_digits_as_tell_them_apart() -> None:
    texts = [tick.text for tick in LinearAxis(1.7917594, 1.7917602, 0, 100).ticks(6)]
    assert len(texts) > 2
    assert len(set(texts)) == len(texts)
    assert [tick.text for tick in LinearAxis(0, 0.3, 0, 100).ticks(4)] == ["0", "0.1", "0.2", "0.3"]
