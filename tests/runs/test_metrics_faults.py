"""A run whose storage fails while records are written: one line that names the file, or a warning."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.faulty_storage import Faults, faulty_storage
from tests.runs.metric_cases import HISTOGRAM
from vgim.config import ResolvedConfig
from vgim.errors import StorageError
from vgim.runs import event_file
from vgim.runs.checkpoint import find_checkpoint
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import read_metrics
from vgim.runs.metrics_writer import Event, MetricsWriter
from vgim.storage import Location
from vgim.training.greedy import GreedyLearner
from vgim.training.trainer import train

TinyConfig = Callable[..., ResolvedConfig]


def run_of(config: ResolvedConfig) -> Path:
    return Path(config.config.storage.root) / config.config.storage.name


def fail_writes_of(monkeypatch: pytest.MonkeyPatch, path: Path, after: int, code: int) -> None:
    """Let `os.write` to a file fail, and write half of what it is given, after some calls."""
    write, calls = os.write, []

    def failing(fd: int, data: bytes) -> int:
        if path.exists() and os.fstat(fd).st_ino == path.stat().st_ino:
            calls.append(fd)
            if len(calls) > after:
                if len(calls) == after + 1:
                    return write(fd, data[: len(data) // 2])
                raise OSError(code, os.strerror(code))
        return write(fd, data)

    monkeypatch.setattr(os, "write", failing)


def before_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], Any]) -> None:
    take_step = GreedyLearner.step

    def acting(learner: GreedyLearner, audio: Any, progress: Any, **options: Any) -> Any:
        if progress.step == step:
            act()
        return take_step(learner, audio, progress, **options)

    monkeypatch.setattr(GreedyLearner, "step", acting)


def weights(run: Path | Location) -> dict[str, torch.Tensor]:
    return find_checkpoint(run).weights()


def assert_equal_weights(first: Path | Location, second: Path | Location) -> None:
    there = weights(second)
    assert all(torch.equal(value, there[name]) for name, value in weights(first).items())


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_records_that_cannot_be_written_end_the_run_in_a_line_that_names_their_file(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    config = tiny_config("train.max_steps=6")
    path = run_of(config) / "metrics.jsonl"
    with monkeypatch.context() as patch:
        fail_writes_of(patch, path, 3, code)
        with pytest.raises(StorageError) as caught:
            train(config)
    assert str(caught.value).startswith(f"cannot write {path}: ")
    assert "\n" not in str(caught.value)
    record = RunFolder(Location(path.parent)).record()
    assert record is not None
    assert (record.state, record.message, record.error) == ("failed", str(caught.value), "StorageError")
    assert all(json.loads(line) for line in path.read_text().splitlines())  # the half line was taken back
    assert train(config) == 0
    straight = tiny_config("train.max_steps=6", "storage.name=straight")
    train(straight)
    assert_equal_weights(run_of(config), run_of(straight))
    steps = [r["step"] for r in read_metrics(Location(run_of(config))) if r["kind"] == "train"]
    assert steps == list(range(1, 7))


@pytest.mark.parametrize("method", ["write", "flush"])
def test_a_run_goes_on_without_events_that_cannot_be_written(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], method: str
) -> None:
    config = tiny_config("train.max_steps=4")
    opened = Path.open

    class Full:
        """An event file whose disk is full once it has some bytes."""

        def __init__(self, file: Any) -> None:
            self._file, self._written = file, 0
            self.close = file.close

        def write(self, data: bytes) -> int:
            self._written += len(data)
            if method == "write" and self._written > 8000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return int(self._file.write(data))

        def flush(self) -> None:
            if method == "flush" and self._written > 8000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file.flush()

    def open_(path: Path, *args: Any, **options: Any) -> Any:
        file = opened(path, *args, **options)
        return Full(file) if "tfevents" in path.name and "session_end" not in path.name else file

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(event_file, "FLUSH_SECONDS", 0.0)
    assert train(config) == 0
    events = [r for r in read_metrics(Location(run_of(config))) if "TensorBoard" in r.get("message", "")]
    assert len(events) == 1
    assert "no space left on the device): the run goes on without them" in events[0]["message"]
    assert events[0]["step"] > 0
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


def test_a_run_whose_folder_is_deleted_ends_in_a_line_and_does_not_make_it_again(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config()
    before_step(monkeypatch, 3, lambda: shutil.rmtree(run_of(config)))
    with pytest.raises(StorageError, match=r"metrics.jsonl: the file or its folder was deleted"):
        train(config)
    assert not run_of(config).exists()
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    "error", [RuntimeError("a defect"), StorageError("cannot write x: full; free space")]
)
def test_a_run_json_that_cannot_be_written_hides_no_other_error(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail() -> None:
        raise error

    def refuse(folder: RunFolder, *_: object) -> None:
        raise StorageError("cannot write run.json: no space left; free some")

    def refuse_to_close(writer: MetricsWriter) -> None:
        raise StorageError("cannot write metrics.jsonl: no space left; free some")

    def act() -> None:
        monkeypatch.setattr(RunFolder, "write", refuse)
        monkeypatch.setattr(MetricsWriter, "_close", refuse_to_close)
        fail()

    before_step(monkeypatch, 2, act)
    with pytest.raises(type(error), match=str(error)):
        train(tiny_config())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_ends_the_run_in_a_line_and_the_same_command_goes_on(
    tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch, small_disk: Path
) -> None:
    filler = small_disk / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as out:
            while out.write(bytes(4096)):
                pass

    overrides = ("train.checkpoint_every_steps=3", "train.max_steps=12")
    config = tiny_config(f"storage.root={small_disk}", *overrides)
    with monkeypatch.context() as patch:
        before_step(patch, 7, fill)
        with pytest.raises(StorageError, match="no space left") as caught:
            train(config)
    assert str(run_of(config)) in str(caught.value)
    filler.unlink()
    assert train(config) == 0
    straight = tiny_config(*overrides)
    train(straight)
    assert_equal_weights(run_of(config), run_of(straight))


def test_event_files_read_back_as_those_of_torch(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = MetricsWriter(Location(tmp_path), 0)
    writer.event(1, Event("hello"))
    writer.histogram("h", HISTOGRAM, 2)
    writer.close()
    writer.close()
    read = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert read.Tags()["histograms"] == ["h"]
    assert read.Tags()["tensors"] == ["events/text_summary"]


def test_a_remote_run_goes_on_without_events_that_cannot_be_copied(tmp_path: Path) -> None:
    with faulty_storage(tmp_path / "store"):
        run = Location("faulty://s/run")
        writer = MetricsWriter(run, 0)
        run.child("tensorboard").write_bytes_atomic(b"a file where the folder should be")
        for step in range(1, 4):
            writer.event(step, Event("hello"))
            writer.flush()
            writer._copies.wait()
        writer.close()
        messages = [r["message"] for r in read_metrics(run)]
    assert messages.count("hello") == 3
    assert sum("events cannot be copied (cannot" in message for message in messages) == 1


def test_a_run_on_storage_that_fails_often_ends_with_the_weights_of_one_on_a_disk(
    tiny_config: TinyConfig, tmp_path: Path, tiny_shards: Path
) -> None:
    overrides = ("train.checkpoint_every_steps=3", "train.max_steps=12")
    straight = tiny_config(*overrides)
    train(straight)
    with faulty_storage(tmp_path / "store", Faults(error_rate=0.05, latency_s=0.001, seed=1)) as faults:
        shutil.copytree(tiny_shards, tmp_path / "store" / "s" / "shards")
        config = tiny_config(
            *overrides, "storage.root=faulty://s/runs", "data.shards=faulty://s/shards", "storage.name=run"
        )
        assert train(config) == 0
        run = Location("faulty://s/runs/run")
        assert_equal_weights(run, run_of(straight))
        assert [r["step"] for r in read_metrics(run) if r["kind"] == "train"] == list(range(1, 13))
        assert run.child("tensorboard").list()
    assert faults.raised.total() > 3
