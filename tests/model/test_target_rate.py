"""KL weights that follow a target rate: direction, bounds, and the rate that they reach."""

from __future__ import annotations

import math

import pytest

from vgim.config.schema import ObjectiveConfig
from vgim.model.target_rate import REACH, STEP_SIZE, is_held, next_weight

TEN = ObjectiveConfig(kld_weight=0.001, target_rate=10)


def test_a_weight_rises_above_the_rate_falls_below_it_and_rests_at_it() -> None:
    assert next_weight(0.002, 10.0, TEN) == 0.002
    assert next_weight(0.002, 11.0, TEN) == pytest.approx(0.002 * 1.1**STEP_SIZE)
    assert next_weight(0.002, 9.0, TEN) == pytest.approx(0.002 * 0.9**STEP_SIZE)


@pytest.mark.parametrize("rate", [0.0, 1e-300, 1e30])
def test_a_step_changes_a_weight_by_no_more_than_its_size_whatever_the_rate(rate: float) -> None:
    assert abs(math.log(next_weight(0.002, rate, TEN) / 0.002)) == pytest.approx(STEP_SIZE)


@pytest.mark.parametrize(("rate", "end"), [(0.0, 0.001 / REACH), (100.0, 0.001 * REACH)])
def test_a_weight_stays_within_reach_of_its_start(rate: float, end: float) -> None:
    weight = 0.001
    for _ in range(1000):
        weight = next_weight(weight, rate, TEN)
    assert weight == pytest.approx(end)


@pytest.mark.parametrize("start", [2.0, 80.0])
def test_a_rate_that_follows_the_weight_slowly_comes_to_rest_at_the_target(start: float) -> None:
    rate, weight = start, TEN.kld_weight
    for _ in range(600):
        settled = 2 * weight**-0.4  # nats a frame that training would reach under this weight
        rate += 0.05 * (settled - rate)
        weight = next_weight(weight, rate, TEN)
    assert rate == pytest.approx(10, rel=0.01)


def test_a_rate_is_held_near_the_target_or_below_it_under_the_lowest_weight() -> None:
    assert is_held(10.9, 0.004, TEN)
    assert not is_held(11.1, 0.004, TEN)
    assert not is_held(8.0, 0.004, TEN)
    lowest = TEN.kld_weight / REACH
    assert is_held(8.0, lowest, TEN)
    assert not is_held(12.0, lowest, TEN)
