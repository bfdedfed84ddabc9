"""The time left: nothing before it is known, near the truth for steady work, never zero before the end."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.cli.eta import EVIDENCE_S, Eta

seconds = st.floats(0.01, 500)


def test_nothing_is_told_before_a_unit_is_done() -> None:
    eta = Eta(0.0)
    assert eta.seconds_left(0.0, 10) is None
    assert eta.seconds_left(500.0, 10) is None


@given(done=st.integers(1, 1000), duration=st.floats(0, EVIDENCE_S, exclude_max=True))
def test_nothing_is_told_from_less_than_a_second_of_work(done: int, duration: float) -> None:
    eta = Eta(0.0)
    eta.report(duration, done)
    assert eta.seconds_left(duration, 10_000) is None


@given(
    st.lists(st.tuples(seconds, st.integers(0, 50)), min_size=1, max_size=50), st.integers(1, 500), seconds
)
def test_before_the_end_at_least_a_second_is_left(
    reports: list[tuple[float, int]], left: int, waited: float
) -> None:
    eta, now, done = Eta(0.0), 0.0, 0
    for duration, count in reports:
        now, done = now + duration, done + count
        eta.report(now, done)
        told = eta.seconds_left(now, done + left)
        assert told is None or (told >= 1 and math.isfinite(told))
    told = eta.seconds_left(now + waited, done + left)
    assert told is None or told >= 1
    assert eta.seconds_left(now, done) == 0


@given(
    unit_s=st.floats(0.02, 100),
    batch=st.integers(1, 20),
    num_reports=st.integers(2, 60),
    left=st.integers(50, 500),
)
def test_steady_work_takes_what_is_told(unit_s: float, batch: int, num_reports: int, left: int) -> None:
    eta = Eta(0.0)
    for number in range(1, num_reports + 1):
        eta.report(number * batch * unit_s, number * batch)
    now = num_reports * batch * unit_s
    told = eta.seconds_left(now, num_reports * batch + left)
    if now < EVIDENCE_S:
        assert told is None
    else:
        assert told == pytest.approx(max(left * unit_s, 1), rel=1e-6)


@given(unit_s=st.floats(1, 100), part=st.floats(0, 1))
def test_it_counts_down_between_two_reports(unit_s: float, part: float) -> None:
    eta = Eta(0.0)
    for number in range(1, 6):
        eta.report(number * unit_s, number)
    told = eta.seconds_left((5 + part) * unit_s, 100)
    assert told == pytest.approx((95 - part) * unit_s, rel=1e-6)


@given(unit_s=st.floats(0.1, 50), earlier=st.floats(1, 20), later=st.floats(0.1, 1000))
def test_it_never_falls_while_a_report_is_overdue(unit_s: float, earlier: float, later: float) -> None:
    eta = Eta(0.0)
    for number in range(1, 11):
        eta.report(number * unit_s, number)
    before = eta.seconds_left((10 + earlier) * unit_s, 30)
    after = eta.seconds_left((10 + earlier + later) * unit_s, 30)
    assert after is None or before is None or after >= before


def test_what_an_earlier_call_has_done_says_nothing_about_the_speed() -> None:
    eta = Eta(0.0, done=900)
    assert eta.seconds_left(30.0, 1000) is None
    eta.report(40.0, 910)
    assert eta.seconds_left(40.0, 1000) == pytest.approx(360)


@given(fast_s=st.floats(0.1, 1), factor=st.floats(2, 20))
def test_work_that_slows_down_is_noticed(fast_s: float, factor: float) -> None:
    eta, now = Eta(0.0), 0.0
    for done in range(1, 101):
        now += fast_s if done <= 50 else fast_s * factor
        eta.report(now, done)
    told = eta.seconds_left(now, 200)
    mean = now / 100 * 100
    assert told is not None
    assert mean <= told * 1.0001
    assert told <= 100 * fast_s * factor * 1.0001
