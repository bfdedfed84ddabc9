"""Records survive kills, resumption and slow storage: each step shows once, and a copy lies beside the run."""

from __future__ import annotations

import itertools
import math
import threading
import time
from pathlib import Path

import pytest

from tests.runs.metric_cases import HISTOGRAM, board, figures, train_record
from tests.training.cases import records
from tests.waiting import wait_until
from vgim.errors import StorageError
from vgim.runs import event_board, event_file
from vgim.runs.metrics import read_metrics
from vgim.runs.metrics_writer import Event, MetricsWriter
from vgim.storage import Location


def test_steps_that_are_taken_again_show_once(tmp_path: Path) -> None:
    run = Location(tmp_path)
    first = MetricsWriter(run, 0)
    first.event(0, Event("start"))
    for step in range(1, 8):
        first.train(train_record(step))
    first.close()
    again = MetricsWriter(run, 4)
    again.event(4, Event("continued"))
    for step in range(5, 10):
        again.train(train_record(step, 2.0))
    again.close()
    told = records(run)
    assert [(r["kind"], r["step"]) for r in told] == [
        ("event", 0),
        *(("train", s) for s in range(1, 5)),
        ("event", 4),
        *(("train", s) for s in range(5, 10)),
    ]
    shown = board(tmp_path).Scalars("train/module0/nce")
    assert [(e.step, e.value) for e in shown] == [(s, 1.0 if s <= 4 else 2.0) for s in range(1, 10)]


def test_event_files_of_one_second_are_read_in_the_order_in_which_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(event_file, "_numbers", itertools.count(9))
        patch.setattr(time, "time", lambda: 1e9)
        for value in (1.0, 2.0):
            with event_board.strict_board(tmp_path / "tensorboard") as writer:
                writer.add_scalar("loss", value, int(value))
    assert [event.value for event in board(tmp_path).Scalars("loss")] == [1.0, 2.0]


def test_starting_over_drops_figures_but_keeps_what_was_told(tmp_path: Path) -> None:
    run = Location(tmp_path)
    first = MetricsWriter(run, 0)
    first.event(0, Event("a first start"))
    first.train(train_record(1))
    first.close()
    MetricsWriter(run, 0).close()
    assert [(r["kind"], r["step"]) for r in records(run)] == [("event", 0)]


def test_a_half_written_line_is_passed_over_and_dropped_on_resumption(tmp_path: Path) -> None:
    run = Location(tmp_path)
    first = MetricsWriter(run, 0)
    first.train(train_record(1))
    first.train(train_record(2))
    first.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-40])
    assert [r["step"] for r in read_metrics(run)] == [1]
    again = MetricsWriter(run, 1)
    again.train(train_record(2))
    again.close()
    assert [r["step"] for r in records(run)] == [1, 2]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_is_written_as_null(tmp_path: Path, value: float) -> None:
    run = Location(tmp_path)
    writer = MetricsWriter(run, 0)
    writer.validation(
        {"step": 1, "epoch": 1, "crops": 4, "loss": value, "modules": [{**figures(), "loss": value}]}
    )
    writer.close()
    (told,) = records(run, "validation")
    assert told["loss"] is None
    assert told["modules"][0]["loss"] is None
    assert told["modules"][0]["nce"] == 1.0
    assert "validation/module0/loss" not in board(tmp_path).Tags()["scalars"]


def test_metrics_of_a_run_without_any_are_none(tmp_path: Path) -> None:
    assert list(read_metrics(Location(tmp_path))) == []


def test_metrics_on_storage_that_is_no_file_system_are_copied_there(tmp_path: Path) -> None:
    run = Location(f"mock://metrics/{tmp_path.name}")
    first = MetricsWriter(run, 0)
    first.train(train_record(1))
    first.flush()
    wait_until(lambda: [r["step"] for r in read_metrics(run)] == [1], "the copy of the first record")
    first.train(train_record(2))
    first.histogram("latents/module0/mu", HISTOGRAM, 2)
    first.close()
    again = MetricsWriter(run, 1)
    again.train(train_record(2, 3.0))
    again.close()
    assert [(r["step"], r["modules"][0]["nce"]) for r in read_metrics(run)] == [(1, 1.0), (2, 3.0)]
    run.download_to(tmp_path / "copy")
    assert [(e.step, e.value) for e in board(tmp_path / "copy").Scalars("train/module0/nce")] == [
        (1, 1.0),
        (2, 3.0),
    ]


def test_training_does_not_wait_for_copies_of_which_one_is_made_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload, reached, opened, copies = Location.upload_dir, threading.Event(), threading.Event(), [0]

    def held_upload(location: Location, folder: Path) -> None:
        copies[0] += 1
        reached.set()
        assert opened.wait(60)
        upload(location, folder)

    monkeypatch.setattr(Location, "upload_dir", held_upload)
    run = Location(f"mock://metrics/{tmp_path.name}")
    writer = MetricsWriter(run, 0)
    for step in range(1, 4):
        writer.train(train_record(step))
        writer.flush()
        assert reached.wait(60)
    assert copies == [1]
    opened.set()
    wait_until(lambda: not writer._copies.is_running, "the end of the first copy")
    writer.flush(force=False)  # a copy is still due, though the last one was started a moment ago
    wait_until(lambda: copies == [2], "the second copy")
    wait_until(lambda: len(list(read_metrics(run))) == 3, "the records of the second copy")
    writer.train(train_record(4))
    writer.close()
    assert [r["step"] for r in read_metrics(run)] == [1, 2, 3, 4]


def test_a_copy_that_fails_is_raised_at_the_next_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing_write(location: Location, data: bytes) -> None:
        raise StorageError(f"cannot write {location.uri}: no answer; check the network")

    writer = MetricsWriter(Location(f"mock://metrics/{tmp_path.name}"), 0)
    writer.train(train_record(1))
    with monkeypatch.context() as patch:
        patch.setattr(Location, "write_bytes_atomic", failing_write)
        writer.flush()
        wait_until(lambda: not writer._copies.is_running, "the end of the copy")
        with pytest.raises(StorageError, match="no answer"):
            writer.flush(force=False)
    writer.close()
