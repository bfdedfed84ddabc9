"""Metrics of training reach the gauges that Ray exports, and the dashboard reads only gauges that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import ray.util.metrics

from tests.training.cases import single_rank_trainer
from vgim.training.prometheus import MODULE_GAUGES, RUN_GAUGES, Gauges

DASHBOARD = Path(__file__).resolve().parents[2] / "deploy/monitoring/vgim-dashboard.json"


class FakeGauge:
    """Keeps the values that are set."""

    values: dict[tuple[str, str, str], float] = {}  # noqa: RUF012

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        self.name, self.tag_keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.tag_keys)
        self.values[self.name, tags["run"], tags.get("module", "")] = value


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


def test_a_value_that_is_missing_or_has_no_gauge_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    Gauges("sim")("validation", {"modules": [{"module": 0, "nce": None, "accuracy": 0.5}]})
    assert not FakeGauge.values


def test_the_dashboard_reads_only_gauges_that_exist() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    names = {name for expression in asked for name in re.findall(r"ray_(vgim_\w+)", expression)}
    assert names <= {*RUN_GAUGES, *MODULE_GAUGES}
    assert {
        "vgim_steps_per_second",
        "vgim_data_wait_ratio",
        "vgim_nce",
        "vgim_checkpoint_timestamp_seconds",
    } <= names
