"""The one worker of a private Ray: when it is started anew, and when not. Ray is not started."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayTaskError

from vgim.cluster.placement import Placement
from vgim.errors import DataError, TrainingError
from vgim.training.ray_alone import RayEndedError, WorkerFailedError, train_alone

PLACEMENT = Placement(1, 0.5, False, on_this_machine=True)


class Workers:
    """Plays the part of Ray's actors: each call of `train` meets the next of some outcomes."""

    def __init__(self, *outcomes: Exception | None, starts: int = 9, ray_lives: bool = True) -> None:
        self.outcomes, self.starts, self.ray_lives = list(outcomes), starts, ray_lives
        self.started = self.killed = 0
        self.asked: dict[str, Any] = {}

    def remote(self, **options: Any) -> Callable[[type], Any]:
        self.asked = options

        class Kind:
            @staticmethod
            def remote() -> Any:
                self.started += 1
                return Worker()

        class Method:
            def __init__(self, name: str) -> None:
                self.name = name

            def remote(self, *arguments: Any) -> str:
                return self.name

        class Worker:
            __ray_ready__ = Method("ready")
            train = Method("train")

        return lambda actor: Kind

    def get(self, call: str, timeout: float | None = None) -> None:
        if call == "ready":
            if self.started > self.starts:
                raise GetTimeoutError
            return
        if (outcome := self.outcomes.pop(0)) is not None:
            raise outcome

    def kill(self, worker: Any) -> None:
        self.killed += 1

    def nodes(self) -> list[dict[str, bool]]:
        return [{"Alive": self.ray_lives}]


def train(workers: Workers, monkeypatch: pytest.MonkeyPatch, *, stops: bool = False) -> None:
    for name in ("remote", "get", "kill", "nodes"):
        monkeypatch.setattr(ray, name, getattr(workers, name))
    train_alone(lambda: None, PLACEMENT, max_failures=2, start_timeout_s=0.01, is_stopping=lambda: stops)


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("train", "a traceback", cause)


def test_a_lost_worker_is_started_anew_and_every_worker_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(ActorDiedError(), raised(OSError("gone")), None)
    train(workers, monkeypatch)
    assert (workers.started, workers.killed) == (3, 3)
    assert workers.asked == {"num_cpus": 0.5, "num_gpus": 0}


def test_a_worker_that_is_lost_too_often_stays_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    last = ActorDiedError()
    workers = Workers(ActorDiedError(), ActorDiedError(), last)
    with pytest.raises(WorkerFailedError) as e:
        train(workers, monkeypatch)
    assert e.value.worker_failures == {0: last}
    assert workers.started == 3


def test_a_worker_that_is_lost_after_a_signal_stays_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(ActorDiedError())
    with pytest.raises(WorkerFailedError):
        train(workers, monkeypatch, stops=True)
    assert workers.started == 1


def test_an_error_that_a_new_worker_would_only_raise_again_is_raised_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    error = DataError("row group 3 cannot be read")
    workers = Workers(raised(error))
    with pytest.raises(DataError) as e:
        train(workers, monkeypatch)
    assert e.value is error
    assert (workers.started, workers.killed) == (1, 1)


def test_a_worker_that_does_not_start_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        TrainingError, match=r"^the worker did not start within 0.01 s \(cluster.start_timeout_s\)"
    ):
        train(Workers(starts=0), monkeypatch)


def test_no_worker_is_waited_for_when_ray_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    workers = Workers(ActorDiedError(), starts=1, ray_lives=False)
    with pytest.raises(RayEndedError, match="The actor died"):
        train(workers, monkeypatch)
    assert (workers.started, workers.killed) == (2, 2)


def test_a_launch_on_ray_needs_no_torch() -> None:
    code = """
import pickle, sys
from functools import partial
from vgim.training.on_ray import _train_worker
from vgim.training.trainer import greedy_learner
pickle.dumps(partial(_train_worker, greedy_learner))
print({"torch", "ray", "pandas"} & set(sys.modules))
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"
