"""How long a run is without workers reaches the gauge. tests/test_elastic_nodes.py has Ray export it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import ray.util.metrics
from ray.train.v2._internal.execution.controller import state

from tests.waiting import wait_until
from vgim.storage import Location
from vgim.training import ray_waiting
from vgim.training.ray_waiting import waiting_callback


class FakeGauge:
    """Keeps the values that are set, and how often."""

    values: dict[str, float] = {}  # noqa: RUF012
    times = 0

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
        assert (name, tag_keys) == ("vgim_waiting_seconds", ("run",))

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.values[tags["run"]] = value
        FakeGauge.times += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time of the gauge, which stands unless a test moves it."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(FakeGauge, "values", {})
    monkeypatch.setattr(FakeGauge, "times", 0)
    monkeypatch.setattr(ray.util.metrics, "Gauge", FakeGauge)
    monkeypatch.setattr(ray_waiting, "REPEAT_S", 0.01)
    monkeypatch.setattr(ray_waiting, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "waiting"]


def test_a_wait_is_counted_through_failed_starts_until_workers_are_there_and_again_after_a_loss(
    clock: SimpleNamespace,
) -> None:
    callback = waiting_callback(Location("/runs/sim"))
    callback.after_controller_start(None)

    def enter(new: Any) -> float:
        callback.after_controller_state_update(None, new)
        return FakeGauge.values["sim"]

    try:
        clock.now = 130.0
        assert enter(state.SchedulingState(None)) == 30
        clock.now = 430.0
        assert enter(state.ReschedulingState(None)) == 330
        assert enter(state.RunningState()) == 0
        clock.now = 900.0
        assert enter(state.PreemptingState(None, 0.0)) == 0
        assert enter(state.RestartingState(None)) == 0
        clock.now = 960.0
        wait_until(lambda: FakeGauge.values["sim"] == 60, "the wait grows while nothing else happens")
        assert enter(state.RunningState()) == 0
        times = FakeGauge.times
        wait_until(lambda: FakeGauge.times > times + 2, "a value that stays is set again")
    finally:
        callback.after_controller_state_update(None, state.ShuttingDownState(None))
    wait_until(lambda: not threads(), "nothing is exported after the end")
