"""Ray that ends before its workers: at a signal that reached all processes, and by itself. Ray is not started."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.cases import run_location
from tests.waiting import wait_until
from vgim.cluster.placement import Placement
from vgim.config import ResolvedConfig
from vgim.errors import Interrupted, TrainingError
from vgim.progress import MessagesOnly
from vgim.runs.folder import RunFolder
from vgim.runs.layout import STOP_REQUEST
from vgim.training import on_ray
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
ONE_WORKER = Placement(1, 1.0, False)


def state_of(resolved: ResolvedConfig) -> tuple[str, str]:
    record = RunFolder(run_location(resolved.config)).record()
    assert record is not None
    return record.state, record.message


def trainer_that(fit: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a function play the part of Ray's trainer."""
    from vgim.training import ray_trainer

    class Trainer:
        def __init__(self, *arguments: Any, **options: Any) -> None: ...

        def fit(self) -> None:
            fit()

    monkeypatch.setattr(on_ray, "ensure_ray", lambda **options: None)
    monkeypatch.setattr(ray_trainer, "ray_trainer", Trainer)


def test_a_signal_that_ends_ray_as_well_interrupts_the_run(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = tiny_config("cluster.workers=1")
    run = run_location(resolved.config)

    def end_with_all() -> None:
        from ray.exceptions import ActorDiedError

        RunFolder(run).begin_attempt(1)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(Path(str(run), STOP_REQUEST).exists, "the request to stop")
        raise ActorDiedError

    trainer_that(end_with_all, monkeypatch)
    with pytest.raises(Interrupted) as e:
        train(resolved, placement=ONE_WORKER, progress=MessagesOnly(print))
    assert e.value.exit_code == 143
    assert state_of(resolved) == ("interrupted", "stopped by SIGTERM")
    assert STOP_REQUEST not in run.list()
    assert "no checkpoint was written: Ray ended before the workers (" in capsys.readouterr().out


def test_ranks_that_stopped_are_believed_where_ray_says_nothing(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = tiny_config("cluster.workers=1")
    run = run_location(resolved.config)
    ends: list[tuple[float, int]] = []
    monkeypatch.setattr(on_ray, "SILENCE_S", 0.1)
    monkeypatch.setattr(on_ray, "end_within", lambda *arguments: ends.append(arguments))
    message = "stopped by SIGTERM at step 3, epoch 0"
    over = threading.Event()

    def say_nothing() -> None:
        RunFolder(run).begin_attempt(1)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(Path(str(run), STOP_REQUEST).exists, "the request to stop")
        RunFolder(run).set_state("interrupted", message)
        over.wait()

    trainer_that(say_nothing, monkeypatch)
    with pytest.raises(Interrupted) as e:
        train(resolved, placement=ONE_WORKER)
    over.set()
    assert e.value.exit_code == 143
    assert state_of(resolved) == ("interrupted", message)
    assert ends == [(on_ray.EXIT_S, 143)]


def test_ranks_that_stopped_are_believed_where_ray_ends_at_once(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = tiny_config("cluster.workers=1")
    run = run_location(resolved.config)
    ends: list[tuple[float, int]] = []
    monkeypatch.setattr(on_ray, "end_within", lambda *arguments: ends.append(arguments))

    def stop_and_end() -> None:
        from ray.exceptions import ActorDiedError

        RunFolder(run).begin_attempt(1)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_until(Path(str(run), STOP_REQUEST).exists, "the request to stop")
        RunFolder(run).set_state("interrupted", "stopped by SIGTERM at step 3, epoch 0")
        raise ActorDiedError

    trainer_that(stop_and_end, monkeypatch)
    with pytest.raises(Interrupted) as e:
        train(resolved, placement=ONE_WORKER)
    assert e.value.exit_code == 143
    assert state_of(resolved) == ("interrupted", "stopped by SIGTERM at step 3, epoch 0")
    assert ends == [(on_ray.EXIT_S, 143)]


def test_a_lost_controller_is_one_line(tiny_config: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = tiny_config("cluster.workers=1")

    def die() -> None:
        from ray.exceptions import ActorDiedError

        raise ActorDiedError

    trainer_that(die, monkeypatch)
    with pytest.raises(TrainingError, match=r"^Ray's controller of the workers was lost") as e:
        train(resolved, placement=ONE_WORKER)
    assert "\n" not in str(e.value)
    assert state_of(resolved) == ("failed", str(e.value))


@pytest.mark.parametrize("state", ["failed", "interrupted", "stopped"])
def test_workers_that_start_when_the_run_has_ended_do_nothing(tiny_config: Maker, state: Any) -> None:
    resolved = tiny_config("cluster.workers=1")
    run = run_location(resolved.config)
    folder = RunFolder(run)
    folder.claim(resolved.config, "fingerprint")
    folder.set_state(state, "why")
    on_ray._train_worker(TrainJob(resolved.config, run.uri, GreedyLearner), ONE_WORKER)
    record = folder.record()
    assert record is not None
    assert (record.state, record.message, record.attempts) == (state, "why", 0)
