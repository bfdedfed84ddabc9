"""Stopping a training at a signal or at a request: where it stops, what it leaves, how the same command goes on."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.cases import assert_same, at_step, last_checkpoint, run_location, send, state_of
from tests.waiting import wait_until
from vgim.config import ResolvedConfig, RunConfig
from vgim.errors import Interrupted, StorageError
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.layout import STOP_REQUEST
from vgim.runs.stop_request import ask_to_stop, requested_stop, withdraw_stop_request
from vgim.signals import STOP_SIGNALS, Stopped, stop_signals
from vgim.storage import Location
from vgim.training import in_process, stopping, trainer
from vgim.training.checkpoint_clock import CheckpointClock
from vgim.training.greedy import GreedyLearner
from vgim.training.stopping import JOB, JOB_STOP_WAIT_S, Grace, StopWatch, call_in_thread, grace_of
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
SIX_STEPS = ("train.max_steps=6", "train.checkpoint_every_minutes=0")


@pytest.fixture(scope="module")
def straight(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> RunConfig:
    resolved = tiny_config_in(tmp_path_factory.mktemp("straight"), *SIX_STEPS)
    assert train(resolved) == 0
    return resolved.config


def assert_goes_on_as(resolved: ResolvedConfig, straight: RunConfig) -> None:
    """The same command ends with the weights and the optimizer of a straight run."""
    assert train(resolved) == 0
    ours, theirs = last_checkpoint(resolved.config), last_checkpoint(straight)
    assert state_of(resolved.config) == ("finished", "finished at step 6, epoch 0")
    assert_same(ours.weights(), theirs.weights())
    assert_same(ours.optimizer(), theirs.optimizer())


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_writes_the_step_under_way_and_the_same_command_goes_on(
    tiny_config: Maker,
    straight: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    resolved = tiny_config(*SIX_STEPS)
    at_step(monkeypatch, 3, send(number))
    with pytest.raises(Interrupted) as e:
        train(resolved, progress=MessagesOnly(print))
    assert e.value.exit_code == 128 + number
    assert last_checkpoint(resolved.config).state.step == 3
    assert state_of(resolved.config) == ("interrupted", f"stopped by {number.name} at step 3, epoch 0")
    said = capsys.readouterr().out
    assert said.endswith("interrupted; the same command continues from the checkpoint of step 3\n")
    assert STOP_REQUEST not in run_location(resolved.config).list()
    assert_goes_on_as(resolved, straight)


def test_a_request_in_the_folder_stops_the_run_as_a_signal_does(
    tiny_config: Maker, straight: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = tiny_config(*SIX_STEPS)
    monkeypatch.setattr(stopping, "LOCAL_POLL_S", 0.01)
    run = run_location(resolved.config)
    found = threading.Event()
    look = stopping.requested_stop

    def looked(folder: Location) -> int:
        number = look(folder)
        if number:
            found.set()
        return number

    monkeypatch.setattr(stopping, "requested_stop", looked)

    def touch() -> None:
        Path(str(run), STOP_REQUEST).touch()
        wait_until(found.is_set, "the request is seen")

    at_step(monkeypatch, 3, touch)
    with pytest.raises(Interrupted) as e:
        train(resolved)
    assert e.value.exit_code == 143
    assert last_checkpoint(resolved.config).state.step in (3, 4)
    assert state_of(resolved.config)[1].startswith("stopped by SIGTERM at step ")
    assert STOP_REQUEST not in run.list()
    assert_goes_on_as(resolved, straight)


@pytest.mark.parametrize("moment", ["before the claim", "after the claim"])
def test_a_trial_that_was_made_ready_while_its_sweep_was_stopped_does_not_begin(
    tiny_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    resolved, sweep = tiny_config(*SIX_STEPS), Location(tmp_path / "sweep")
    if moment == "before the claim":
        ask_to_stop(sweep, signal.SIGTERM)
    else:
        withdraw = trainer.withdraw_stop_request
        monkeypatch.setattr(
            trainer,
            "withdraw_stop_request",
            lambda run: (withdraw(run), ask_to_stop(sweep, signal.SIGTERM)),
        )
    with pytest.raises(Interrupted) as e:
        train(resolved, stop_folder=sweep.uri)
    assert e.value.exit_code == 143
    record = RunFolder(run_location(resolved.config)).record()
    assert (record and record.state) == (None if moment == "before the claim" else "interrupted")
    assert not complete_checkpoints(run_location(resolved.config))
    monkeypatch.undo()
    assert train(resolved) == 0


def test_a_signal_before_the_first_step_stops_at_once_and_loses_nothing(
    tiny_config: Maker,
    straight: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    resolved = tiny_config(*SIX_STEPS)
    with monkeypatch.context() as patch:
        patch.setattr(in_process, "keep_freed_memory", send(signal.SIGTERM))
        with pytest.raises(Interrupted):
            train(resolved, progress=MessagesOnly(print))
    assert state_of(resolved.config) == ("interrupted", "stopped by SIGTERM")
    assert "there is no checkpoint yet" in capsys.readouterr().out
    assert_goes_on_as(resolved, straight)


def test_a_signal_in_a_validation_or_a_checkpoint_waits_for_its_end(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_with(name: str, *signal_in: str) -> RunConfig:
        resolved = tiny_config(f"storage.name={name}", "train.epochs=2", "train.limit_train_batches=3")
        with monkeypatch.context() as patch:
            for method in signal_in:
                called: list[int] = []
                original = getattr(GreedyLearner if method == "validate" else in_process.RankTrainer, method)

                def wrapped(*args: Any, _original: Any = original, _called: Any = called) -> Any:
                    _called.append(1)
                    if len(_called) == 1:
                        send(signal.SIGTERM)()
                    return _original(*args)

                owner = GreedyLearner if method == "validate" else in_process.RankTrainer
                patch.setattr(owner, method, wrapped)
            if signal_in:
                with pytest.raises(Interrupted):
                    train(resolved)
                # The signal came after the boundary's look for it: one more step is taken.
                assert last_checkpoint(resolved.config).state.step == 4
        assert train(resolved) == 0
        return resolved.config

    expected = train_with("straight")
    for method in ("validate", "_checkpoint"):
        found = train_with(method.strip("_"), method)
        assert_same(last_checkpoint(found).weights(), last_checkpoint(expected).weights())
        assert last_checkpoint(found).state.best_loss == last_checkpoint(expected).state.best_loss


def test_a_signal_in_the_last_step_lets_the_run_finish(
    tiny_config: Maker, straight: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = tiny_config(*SIX_STEPS)
    at_step(monkeypatch, 6, send(signal.SIGTERM))
    assert_goes_on_as(resolved, straight)


def test_a_second_signal_stops_at_once(
    tiny_config: Maker, straight: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = tiny_config(*SIX_STEPS, "train.checkpoint_every_steps=2")
    at_step(monkeypatch, 4, lambda: [send(signal.SIGINT)() for _ in range(2)] and None)
    with pytest.raises(Interrupted) as e:
        train(resolved)
    assert e.value.exit_code == 130
    assert last_checkpoint(resolved.config).state.step == 2
    assert state_of(resolved.config) == ("interrupted", "stopped by SIGINT")
    assert_goes_on_as(resolved, straight)


@pytest.mark.parametrize("grace_s", [0.2, 0])
def test_when_the_grace_is_over_the_run_ends_and_says_what_was_not_written(
    tiny_config: Maker,
    straight: RunConfig,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    grace_s: float,
) -> None:
    resolved = tiny_config(*SIX_STEPS, f"cluster.stop_grace_s={grace_s}", "train.checkpoint_every_steps=2")

    def stuck() -> None:
        send(signal.SIGTERM)()
        wait_until(lambda: False, "the grace's end")

    at_step(monkeypatch, 4, stuck)
    with pytest.raises(Interrupted) as e:
        train(resolved, progress=MessagesOnly(print))
    assert e.value.exit_code == 143
    assert state_of(resolved.config) == ("interrupted", "stopped by SIGTERM")
    said = capsys.readouterr().out
    assert ("stopping after SIGTERM" in said) == (grace_s > 0)
    assert ("no checkpoint was written within 0.2 s (cluster.stop_grace_s)" in said) == (grace_s > 0)
    assert said.endswith("interrupted; the same command continues from the checkpoint of step 2\n")
    assert_goes_on_as(resolved, straight)


def test_checkpoints_by_the_clock_change_no_weights(
    tiny_config: Maker, straight: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = tiny_config("train.max_steps=6", "train.checkpoint_every_minutes=1e-6", "train.keep_last=10")
    assert_goes_on_as(resolved, straight)
    found = complete_checkpoints(run_location(resolved.config))
    assert [checkpoint.state.step for checkpoint in found] == list(range(1, 7))


def test_a_clock_asks_once_in_a_period() -> None:
    now = [0.0]
    clock = CheckpointClock(1, lambda: now[0])
    found = []
    for now[0] in (59, 60, 61, 119, 120, 150):
        found.append(clock.is_due())
    assert found == [False, True, False, False, True, False]
    clock.restart()
    for now[0], due in ((209, False), (210, True)):
        assert clock.is_due() == due
    never = CheckpointClock(0, lambda: now[0])
    now[0] = 1e9
    assert not never.is_due()


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b'{"signal": 2}', 2),
        (b"", 15),
        (b"\xff\x00", 15),
        (b"[1]", 15),
        (b'{"signal": 99999999999}', 15),
        (b'{"signal": "9"}', 15),
    ],
)
def test_any_file_of_that_name_asks_for_a_stop(tmp_path: Path, content: bytes, number: int) -> None:
    folder = Location(tmp_path)
    assert requested_stop(folder) == 0
    (tmp_path / STOP_REQUEST).write_bytes(content)
    assert requested_stop(folder) == number
    withdraw_stop_request(folder)
    assert requested_stop(folder) == 0
    ask_to_stop(folder, signal.SIGHUP)
    assert json.loads((tmp_path / STOP_REQUEST).read_text())["signal"] == 1


def test_a_watch_survives_storage_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def failing(folder: Location) -> int:
        looks.append(1)
        if len(looks) < 3:
            raise StorageError("no answer")
        return 15

    monkeypatch.setattr(stopping, "requested_stop", failing)
    monkeypatch.setattr(stopping, "LOCAL_POLL_S", 0.001)
    with StopWatch([Location(tmp_path)]) as watch:
        wait_until(watch.asked, "the request")


def test_a_function_in_a_thread_raises_here_or_is_abandoned() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call_in_thread(fail)
    end = threading.Event()
    call_in_thread(end.wait, lambda: True)
    end.set()


@pytest.mark.parametrize(
    ("environment", "grace_s"),
    [
        ({}, 60),
        ({JOB: "{}"}, 2.5),
        ({JOB: "{}", JOB_STOP_WAIT_S: "70"}, 60),
        ({JOB: "{}", JOB_STOP_WAIT_S: "x"}, 2.5),
    ],
)
def test_the_grace_ends_before_ray_kills_a_job(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], grace_s: float
) -> None:
    for name in (JOB, JOB_STOP_WAIT_S):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert grace_of(60) == grace_s
    assert grace_of(0) == 0


def test_ranks_that_have_not_begun_are_not_waited_for_nor_is_a_terminal_that_is_gone() -> None:
    def terminal_is_gone(line: str) -> None:
        raise OSError(5, "Input/output error")

    def hang_up() -> None:
        send(signal.SIGHUP)()
        wait_until(lambda: False, "the second signal")

    with stop_signals() as stop:
        stop.is_patient = True
        with Grace(stop, 60, terminal_is_gone, lambda number: False), pytest.raises(Stopped):
            hang_up()
