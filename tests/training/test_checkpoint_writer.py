"""Checkpoints that a thread writes: the step's own bytes, one at a time, and no failure that nobody hears of."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runs.checkpoint_cases import config_of, state, trained
from tests.training.cases import (
    audio,
    greedy_step,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
)
from tests.training.test_resume import Killed, Mortal, assert_same_runs
from vgim.config import ResolvedConfig
from vgim.errors import StorageError
from vgim.model.stack import Encoder
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.metrics_writer import MetricsWriter
from vgim.runs.weights import checkpoint_tensors, save_checkpoint
from vgim.storage import Location
from vgim.training import checkpoints, loop
from vgim.training.agreement import Wishes
from vgim.training.checkpoint_writer import CheckpointWriter
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
WAIT_S = 60.0
FILES = ("weights.safetensors", "optimizer.safetensors", "config.yaml", "state.json")


def writer_of(run: Location, encoder: Encoder) -> CheckpointWriter:
    return CheckpointWriter(run, torch.device("cpu"), config_of(encoder))


def files_of(run: Location, step: int) -> dict[str, bytes]:
    folder = run.child(f"checkpoints/step-{step:08d}").local_path
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def writes_checkpoints() -> bool:
    return any(thread.name == "checkpoint" for thread in threading.enumerate())


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files and folders below `checkpoints` that were written or deleted, in order."""
    done: list[str] = []
    write, delete = Location.write_bytes_atomic, Location.delete

    def recorded_write(location: Location, data: Any) -> None:
        write(location, data)
        if "/checkpoints/" in location.uri:
            done.append(f"write {location.uri.partition('/checkpoints/')[2]}")

    def recorded_delete(location: Location) -> None:
        delete(location)
        if "/checkpoints/" in location.uri:
            done.append(f"delete {location.uri.partition('/checkpoints/')[2]}")

    monkeypatch.setattr(Location, "write_bytes_atomic", recorded_write)
    monkeypatch.setattr(Location, "delete", recorded_delete)
    return done


class Gate:
    """Holds the writing of weights until it is opened; `reached` is set when a thread waits there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self._opened = threading.Event(), threading.Event()
        write = Location.write_bytes_atomic

        def held_write(location: Location, data: Any) -> None:
            if location.name == "weights.safetensors":
                self.reached.set()
                assert self._opened.wait(WAIT_S)
            write(location, data)

        monkeypatch.setattr(Location, "write_bytes_atomic", held_write)

    def open(self) -> None:
        self._opened.set()


def test_the_files_are_those_of_the_step_whatever_is_trained_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, optimizer = trained()
    expected = Location(tmp_path / "expected")
    save_checkpoint(expected, encoder, optimizer, config_of(encoder), state(2))
    gate, run = Gate(monkeypatch), Location(tmp_path / "run")
    writer = writer_of(run, encoder)
    writer.write(state(2), checkpoint_tensors(encoder, optimizer))
    assert gate.reached.wait(WAIT_S)
    take = greedy_step(encoder, optimizer)
    for step in range(2, 4):
        take([audio(4, step)], step, 0.0, measure=False)
    assert writer.written_step == 0
    gate.open()
    writer.wait()
    assert writer.written_step == 2
    assert files_of(run, 2) == files_of(expected, 2)
    assert set(files_of(run, 2)) == set(FILES)


def test_the_state_comes_after_all_other_files_and_older_checkpoints_go_after_it(
    tmp_path: Path, operations: list[str]
) -> None:
    encoder, optimizer = trained()
    writer = writer_of(Location(tmp_path), encoder)
    keep = config_of(encoder).train.keep_last
    for step in range(keep + 1):
        writer.write(state(step), checkpoint_tensors(encoder, optimizer))
    writer.wait()
    first, last = "step-00000000", f"step-{keep:08d}"
    done = [operation for operation in operations if first in operation or last in operation]
    assert len(done) == 2 * len(FILES) + 2
    for number, step in enumerate((first, last)):
        *files, state_file = done[number * len(FILES) : (number + 1) * len(FILES)]
        assert sorted(files) == sorted(f"write {step}/{name}" for name in FILES[:-1])
        assert state_file == f"write {step}/state.json"
    assert done[-2:] == [f"delete {first}/state.json", f"delete {first}"]


def test_a_checkpoint_waits_for_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, optimizer = trained()
    gate, run = Gate(monkeypatch), Location(tmp_path)
    writer = writer_of(run, encoder)
    assert writer.write(state(1), checkpoint_tensors(encoder, optimizer)) == pytest.approx(0, abs=1)
    assert gate.reached.wait(WAIT_S)
    second = threading.Thread(target=writer.write, args=(state(2), checkpoint_tensors(encoder, optimizer)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    gate.open()
    second.join(WAIT_S)
    writer.wait()
    assert [c.state.step for c in complete_checkpoints(run)] == [1, 2]
    assert [c.weights().keys() == encoder.state_dict().keys() for c in complete_checkpoints(run)] == [
        True
    ] * 2


def test_a_failure_is_raised_once_and_earlier_checkpoints_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, optimizer = trained()
    run = Location(tmp_path)
    writer = writer_of(run, encoder)
    writer.write(state(1), checkpoint_tensors(encoder, optimizer))
    writer.wait()
    before = files_of(run, 1)
    (tmp_path / "checkpoints" / "step-00000002").write_text("a file where the folder belongs")
    writer.write(state(2), checkpoint_tensors(encoder, optimizer))
    with pytest.raises(StorageError, match=r"cannot write .*step-00000002/weights.safetensors: .*") as e:
        writer.wait()
    assert "\n" not in str(e.value)
    writer.wait()
    writer.raise_error()
    assert writer.written_step == 1
    assert files_of(run, 1) == before


def test_a_checkpoint_whose_companion_fails_is_not_complete(tmp_path: Path) -> None:
    encoder, optimizer = trained()
    writer = writer_of(Location(tmp_path), encoder)

    def fail() -> None:
        raise StorageError("cannot write metrics.jsonl: it is full; free some space")

    writer.write(state(1), checkpoint_tensors(encoder, optimizer), meanwhile=fail)
    with pytest.raises(StorageError, match="it is full"):
        writer.wait()
    assert writer.written_step == 0
    assert not complete_checkpoints(Location(tmp_path))


def test_memory_stays_as_it_is_over_fifty_checkpoints(tmp_path: Path) -> None:
    encoder, optimizer = trained(2, channels=128, gru_units=128)
    writer = writer_of(Location(tmp_path), encoder)
    sizes = []
    for step in range(50):
        writer.write(state(step), checkpoint_tensors(encoder, optimizer))
        writer.wait()
        sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
    size = sum(path.stat().st_size for path in tmp_path.rglob("step-00000049/*"))
    assert size > 5_000_000
    assert sizes[-1] - sizes[4] < size  # keeping them all would be 45 times as much


def test_a_run_killed_at_any_write_of_a_checkpoint_equals_a_straight_one(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread dies at its first, second, ... operation on storage; the next launch goes on from there."""
    settings = (
        "train.checkpoint_every_steps=3",
        "train.max_steps=14",
        "train.keep_last=1",
        "train.keep_best=0",
    )
    straight = tiny_config("storage.name=straight", *settings).config
    killed = tiny_config("storage.name=killed", *settings).config
    single_rank_trainer(straight).run()
    write, delete = Location.write_bytes_atomic, Location.delete
    left = [0]

    def die_later() -> None:
        left[0] -= 1
        if left[0] < 0 and threading.current_thread().name == "checkpoint":
            raise Killed

    def mortal_write(location: Location, data: Any) -> None:
        if "/checkpoints/" in location.uri:
            die_later()
        write(location, data)

    def mortal_delete(location: Location) -> None:
        if "/checkpoints/" in location.uri:
            die_later()
        delete(location)

    with monkeypatch.context() as patch:
        patch.setattr(Location, "write_bytes_atomic", mortal_write)
        patch.setattr(Location, "delete", mortal_delete)
        deaths = 0
        for survived in (0, 1, 2, 3, 4, 4, 5, 2, 3):  # operations of the first checkpoint, or of later ones
            left[0] = survived
            try:
                single_rank_trainer(killed).run()
            except Killed:
                deaths += 1
            assert not writes_checkpoints()
    assert deaths >= 7
    single_rank_trainer(killed).run()
    assert_same_runs(killed, straight)


def test_a_disk_that_fails_ends_the_run_with_one_line_and_the_same_command_goes_on(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight, failing = (
        tiny_config(f"storage.name={name}", "train.checkpoint_every_steps=4", "train.max_steps=14")
        for name in ("straight", "failing")
    )
    train(straight)
    write = Location.write_bytes_atomic

    def failing_write(location: Location, data: Any) -> None:
        if "step-00000008/optimizer" in location.uri:
            raise StorageError(f"cannot write {location.uri}: no space left on the device; free some space")
        write(location, data)

    with monkeypatch.context() as patch:
        patch.setattr(Location, "write_bytes_atomic", failing_write)
        with pytest.raises(StorageError, match=r"step-00000008/optimizer.safetensors: no space left"):
            train(failing)
    record = RunFolder(run_location(failing.config)).record()
    assert record is not None
    assert (record.state, record.error) == ("failed", "StorageError")
    assert "no space left" in record.message
    assert last_checkpoint(failing.config).state.step == 4
    assert not writes_checkpoints()
    assert train(failing) == 0
    assert_same_runs(failing.config, straight.config)


def test_an_error_of_the_loop_waits_for_the_checkpoint_that_is_being_written(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Opening(Mortal):
        """Opens the gate only when it dies, while the checkpoint of step 14 is held there."""

        def _close(self, *rest: Any) -> None:
            assert gate.reached.wait(WAIT_S)
            assert last_steps() == []
            threading.Timer(0.1, gate.open).start()
            super()._close(*rest)

    def last_steps() -> list[int]:
        return [c.state.step for c in complete_checkpoints(run_location(config))]

    config = tiny_config("train.checkpoint_every_steps=14").config
    gate = Gate(monkeypatch)
    with pytest.raises(Killed):
        single_rank_trainer(config, Opening).run()
    assert last_steps() == [14]
    assert not writes_checkpoints()


@pytest.mark.parametrize("log", ["can be written", "is full"])
def test_a_checkpoint_that_fails_beside_another_error_is_told(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, log: str
) -> None:
    failed = threading.Event()

    def failing_write(*_: Any, **options: Any) -> None:
        failed.set()
        raise StorageError("cannot write it: the disk is gone; check the disk")

    class Dying(loop.RankTrainer):
        def _wishes(self, progress: Any) -> Any:  # it has not heard of the failure when it dies
            if failed.is_set():
                if log == "is full":
                    monkeypatch.setattr(MetricsWriter, "event", failing_write)
                raise Killed
            return Wishes()

    monkeypatch.setattr("vgim.training.checkpoint_writer.write_new_checkpoint", failing_write)
    config = tiny_config("train.checkpoint_every_steps=2").config
    with pytest.raises(Killed):
        single_rank_trainer(config, Dying).run()
    told = [record["message"] for record in records(run_location(config), "event")]
    told += [record.getMessage() for record in caplog.records]
    assert (
        told[-1] == "the last checkpoint was not written: cannot write it: the disk is gone; check the disk"
    )


def test_checkpoints_are_reported_once_they_are_on_storage(tiny_config: Maker) -> None:
    config = tiny_config("train.checkpoint_every_steps=4", "train.max_steps=14", "train.keep_last=9").config
    reported = []

    def report(metrics: dict[str, float], checkpoint: Location) -> None:
        assert json.loads(checkpoint.child("state.json").read_text())["step"] == metrics["step"]
        reported.append(metrics["step"])

    single_rank_trainer(config, report=report).run()
    assert reported == [4, 8, 12, 14]


def test_storage_slower_than_checkpoints_are_due_is_told_once(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SLOW_STORAGE_S", 0.0)
    config = tiny_config("train.checkpoint_every_steps=1", "train.max_steps=6").config
    single_rank_trainer(config).run()
    told = [record["message"] for record in records(run_location(config), "event")]
    assert [m.partition(" s for")[0] for m in told if "is slower than" in m] == ["training waited 0"]


def test_records_are_on_storage_before_the_checkpoint_that_continues_after_them(
    tiny_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On storage that records are copied to, a kill after the checkpoint must not lose records of steps before it."""
    run = Location(f"mock://checkpoints/{tmp_path.name}/run")
    config = tiny_config(
        f"storage.root={run.parent.uri}", "train.checkpoint_every_steps=3", "train.max_steps=7"
    ).config
    write = Location.write_bytes_atomic
    known: list[tuple[int, list[int]]] = []

    def checking_write(location: Location, data: Any) -> None:
        write(location, data)
        if location.name == "state.json":
            lines = [json.loads(line) for line in run.child("metrics.jsonl").read_text().splitlines()]
            steps = [line["step"] for line in lines if line["kind"] == "train"]
            known.append((json.loads(bytes(data))["step"], steps))

    monkeypatch.setattr(Location, "write_bytes_atomic", checking_write)
    single_rank_trainer(config).run()
    assert [step for step, _ in known] == [3, 6, 7]
    for step, steps in known:
        assert steps[:step] == list(range(1, step + 1))
