"""Metrics of training reach the gauges that Ray exports."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import ray.util.metrics

from tests.training.cases import single_rank_trainer
from tests.waiting import wait_until
from vgim.training import prometheus
from vgim.training.errors import NotFiniteError
from vgim.training.prometheus import MODULE_GAUGES, RUN_GAUGES, SOURCE_GAUGES, STAGE_GAUGES, Gauges


class FakeGauge:
    """Keeps the values that are set."""

    values: dict[tuple[str, str, str], float] = {}  # noqa: RUF012

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        rest = [tags[key] for key in self.tag_keys if key != "run"]
        self.values[self.name, tags["run"], " ".join(rest)] = value


def test_a_run_sets_every_gauge(tiny_config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    config = tiny_config("train.max_steps=3").config
    rank = single_rank_trainer(config)
    object.__setattr__(rank.worker, "on_record", Gauges("sim"))
    rank.run()
    values = FakeGauge.values
    assert {name for name, _, _ in values} == {*RUN_GAUGES, *MODULE_GAUGES}
    assert values["vgim_step", "sim", ""] == values["vgim_checkpoint_step", "sim", ""] == 3
    assert {module for name, _, module in values if name == "vgim_nce"} == {"0", "1", "2", "3"}
    assert 0 <= values["vgim_data_wait_ratio", "sim", ""] <= 1


def test_a_run_behind_another_sets_how_far_behind_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    speed = {
        "step": 5,
        "last_step": 9,
        "steps_per_s": 2.0,
        "crops_per_s": 8.0,
        "data_wait_s": 0.0,
        "overhead_s": 0.0,
    }
    source = {"source_step": 400, "source_behind_steps": 200, "source_age_s": 3.5}
    Gauges("sim")("train", {"modules": [], **speed, **source})
    found = {name: value for (name, _, _), value in FakeGauge.values.items() if name in SOURCE_GAUGES}
    assert found == dict(zip(SOURCE_GAUGES, (400, 200, 3.5), strict=True))


def test_a_value_that_is_missing_or_has_no_gauge_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    Gauges("sim")("validation", {"modules": [{"module": 0, "nce": None, "accuracy": 0.5}]})
    assert not FakeGauge.values


def test_every_stage_sets_its_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    stage = {
        "steps_per_s": 2.0,
        "compute_s": 0.3,
        "input_wait_s": 0.1,
        "output_wait_s": 0.05,
        "buffer_fill": None,
        "sent_mb_per_s": 7.0,
    }
    whole = {
        "step": 1,
        "last_step": 2,
        "steps_per_s": 2.0,
        "crops_per_s": 8.0,
        "data_wait_s": 0.0,
        "overhead_s": 0.0,
    }
    stages = [{"stage": 0, **stage}, {"stage": 1, **stage, "buffer_fill": 0.5}]
    Gauges("sim")("train", {**whole, "modules": [], "stages": stages})
    values = FakeGauge.values
    assert {name for name, _, number in values if number == "1"} == {*STAGE_GAUGES}
    assert values["vgim_stage_busy_ratio", "sim", "0"] == pytest.approx(0.6)
    assert values["vgim_stage_buffer_fill", "sim", "1"] == 0.5
    assert ("vgim_stage_buffer_fill", "sim", "0") not in values


def test_the_end_of_a_run_is_exported_with_its_state_and_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    Gauges("sim").ended("failed", NotFiniteError("the gradient of module 0 is not finite"))
    Gauges("gim").ended("finished")
    assert FakeGauge.values == {
        ("vgim_ended", "sim", "failed NotFiniteError"): 1,
        ("vgim_ended", "gim", "finished "): 1,
    }


def test_values_that_are_seldom_set_are_repeated_until_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    monkeypatch.setattr(prometheus, "REPEAT_S", 0.01)
    gauges = Gauges("sim")
    gauges("checkpoint", {"step": 7})
    gauges.keep()
    for _ in range(2):
        FakeGauge.values.clear()  # as Ray does after 20 seconds
        wait_until(lambda: ("vgim_checkpoint_step", "sim", "") in FakeGauge.values, "the value is set again")
    assert FakeGauge.values["vgim_checkpoint_step", "sim", ""] == 7
    gauges.ended("finished")
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "gauges"], "the thread ends")
