"""What a person sees: one line with rate, data wait and ETA, and sentences; the listing of listing."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.cases import run_location
from vgim.config import ResolvedConfig
from vgim.errors import StorageError
from vgim.runs import listing
from vgim.runs.folder import RunFolder
from vgim.runs.listing import format_runs, list_runs
from vgim.storage import Location
from vgim.train import console
from vgim.train.console import Console, format_duration, progress_line, validation_line
from vgim.train.trainer import train

Maker = Callable[..., ResolvedConfig]
LONG_AGO = "2020-01-01T00:00:00+00:00"


def module(number: int, nce: float | None, accuracy: float = 0.3125) -> dict[str, Any]:
    return {"module": number, "nce": nce, "accuracy": accuracy, "kl_per_element": 0.0314, "loss": nce}


def train_record(step: int, *modules: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "train",
        "step": step,
        "last_step": 200,
        "epoch": 3.4,
        "steps_per_s": 2.5,
        "crops_per_s": 20.0,
        "data_wait_s": 0.004,
        "modules": list(modules or (module(0, 1.98), module(1, 2.11))),
        "time": time.time(),
    }


def validation_record(step: int, *modules: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": "validation",
        "step": step,
        "epoch": 3,
        "crops": 40,
        "loss": 2.0,
        "modules": list(modules or (module(0, 1.98), module(1, 2.11, 0.28))),
        "time": time.time(),
    }


def test_the_line_has_step_loss_rate_data_wait_and_time_left() -> None:
    assert progress_line(train_record(120)) == (
        "step 120/200  epoch 3.40  nce 1.980 2.110  20.0 crops/s  data wait 1.0%  ETA 0:32"
    )


def test_the_line_says_which_module_trains_where_it_is_not_the_first() -> None:
    assert "  module 2 nce 1.500  " in progress_line(train_record(1, module(2, 1.5)))


def test_past_its_last_step_a_run_has_no_negative_time_left() -> None:
    assert progress_line(train_record(201)).endswith("ETA 0:00")


def test_the_validation_line_has_the_figures_of_each_module() -> None:
    assert validation_line(validation_record(120)) == (
        "step 120  epoch 3  validation: nce 1.980 2.110  accuracy 31% 28%  kl/element 0.031 0.031  (40 crops)"
    )


def test_figures_that_were_not_finite_are_shown_as_dashes() -> None:
    assert "nce 1.980 -  " in progress_line(train_record(1, module(0, 1.98), module(1, None)))
    assert "nce - 2.110  " in validation_line(validation_record(1, module(0, None), module(1, 2.11)))


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3_599, "59:59"), (3_723, "1:02:03")]
)
def test_a_duration_has_hours_only_from_one_hour_on(seconds: float, shown: str) -> None:
    assert format_duration(seconds) == shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def follow(folder: Path, out: io.StringIO, *records: dict[str, Any]) -> str:
    """What a console prints of records that come while it watches, one after the other."""
    path = folder / "metrics.jsonl"
    with Console(Location(folder), out), path.open("a") as lines:
        for record in records:
            lines.write(json.dumps({**record, "time": time.time()}) + "\n")
            lines.flush()
            deadline = time.monotonic() + 5
            wanted = record.get("message")
            while wanted and wanted not in out.getvalue() and time.monotonic() < deadline:
                time.sleep(0.005)
    return out.getvalue()


@pytest.fixture(autouse=True)
def polls_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "POLL_SECONDS", 0.01)


def event(message: str) -> dict[str, Any]:
    return {"kind": "event", "step": 1, "message": message}


def test_without_a_terminal_sentences_come_as_lines_each_once(tmp_path: Path) -> None:
    printed = follow(
        tmp_path, io.StringIO(), event("first"), train_record(10), validation_record(10), event("second")
    )
    lines = printed.splitlines()
    assert [line.split()[0] for line in lines] == ["first", "step", "step", "second"]
    assert sum("validation:" in line for line in lines) == 1
    assert "\r" not in printed


def test_without_a_terminal_progress_comes_now_and_then_and_at_the_end(tmp_path: Path) -> None:
    steps = [train_record(step) for step in range(1, 50)]
    lines = follow(tmp_path, io.StringIO(), *steps).splitlines()
    assert 1 <= len(lines) <= 3
    assert lines[-1].startswith("step 49/200")


def test_a_terminal_has_one_line_that_is_rewritten_and_cleared_for_sentences(tmp_path: Path) -> None:
    printed = follow(tmp_path, Terminal(), train_record(10), event("look here"), train_record(11))
    assert "look here\n" in printed
    assert printed.count("\n") == 1
    assert printed.endswith("\r\x1b[2K")  # nothing is left standing


def test_what_an_earlier_launch_wrote_is_not_told_again(tmp_path: Path) -> None:
    old = {**event("from yesterday"), "time": time.time() - 86_400}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(old) + "\n" + '{"kind": "tr')
    printed = follow(tmp_path, io.StringIO())
    assert printed == ""


def test_runs_are_listed_with_what_their_folders_say(tiny_config: Maker) -> None:
    train(tiny_config("storage.name=b-finished"))
    train(
        tiny_config("storage.name=c-gim", "model.family=gim", "objective.kld_weight=0", "train.max_steps=2")
    )
    fresh = RunFolder(run_location(tiny_config("storage.name=a-new").config))
    fresh.claim(tiny_config("storage.name=a-new").config, "f" * 64)
    root = tiny_config().config.storage.root
    Path(root, "no-run").mkdir()
    new, done, gim = list_runs(root)
    assert [run.name for run in (new, done, gim)] == ["a-new", "b-finished", "c-gim"]
    assert [run.state for run in (new, done, gim)] == ["running", "finished", "finished"]
    assert (new.step, new.epoch, new.best_loss, new.nce, new.checkpoints) == (0, 0, None, (), 0)
    assert (done.step, done.epoch, done.family, done.kld_weight, done.checkpoints) == (20, 2, "sim", 0.001, 2)
    assert (gim.family, gim.kld_weight, gim.workers) == ("gim", 0.0, 0)
    validations = [
        json.loads(line)
        for line in run_location(tiny_config("storage.name=b-finished").config)
        .child("metrics.jsonl")
        .read_text()
        .splitlines()
        if '"validation"' in line
    ]
    assert done.best_loss == min(v["loss"] for v in validations)
    assert done.nce == tuple(m["nce"] for m in validations[-1]["modules"])
    assert list_runs(f"{root}/c-gim") == [gim]  # a run's own folder gives that run

    lines = format_runs([new, done, gim]).splitlines()
    assert lines[0].split("  ")[0].strip() == "run"
    assert [line.split()[:4] for line in lines[1:]] == [
        ["a-new", "running", "sim", "0.001"],
        ["b-finished", "finished", "sim", "0.001"],
        ["c-gim", "finished", "gim", "0"],
    ]
    assert f"{done.best_loss:.4f}" in lines[2]
    assert lines[1].split()[-3:] == ["-", "-", "0"]


def test_a_run_that_fell_silent_counts_as_interrupted(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config().config
    folder = RunFolder(run_location(config))
    folder.claim(config, "f" * 64)
    record = folder.record()
    assert record is not None
    metrics = folder.location.child("metrics.jsonl").local_path

    def state(updated: str, last_record: float) -> str:
        folder.write(record.model_copy(update={"updated": updated}))
        metrics.write_text(
            json.dumps({"kind": "event", "step": 1, "message": "", "time": last_record}) + "\n"
        )
        return list_runs(folder.location.uri)[0].state

    hours_ago = time.time() - 7_200
    assert state(LONG_AGO, hours_ago) == "interrupted"
    assert state(LONG_AGO, time.time()) == "running"
    assert state(record.updated, hours_ago) == "running"  # it has only just been continued
    monkeypatch.setattr(listing, "SILENT_SECONDS", 10_000.0)
    assert state(record.updated, hours_ago) == "running"


def test_failed_runs_keep_their_state_however_old(tiny_config: Maker) -> None:
    config = tiny_config().config
    folder = RunFolder(run_location(config))
    folder.claim(config, "f" * 64)
    folder.set_state("failed", "module 2 is not finite")
    record = folder.record()
    assert record is not None
    folder.write(record.model_copy(update={"updated": LONG_AGO}))
    (summary,) = list_runs(config.storage.root)
    assert (summary.state, summary.message) == ("failed", "module 2 is not finite")


def test_a_validation_that_was_not_finite_does_not_stop_the_listing(tiny_config: Maker) -> None:
    config = tiny_config().config
    folder = RunFolder(run_location(config))
    folder.claim(config, "f" * 64)
    record = {**validation_record(10, module(0, None)), "loss": None}
    folder.location.child("metrics.jsonl").local_path.write_text(json.dumps(record) + "\n")
    (summary,) = list_runs(config.storage.root)
    assert (summary.best_loss, summary.nce) == (None, (None,))
    assert format_runs([summary]).splitlines()[1].split()[-3:] == ["-", "-", "0"]


def test_storage_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"there is no folder .*/nowhere; give the storage\.root"):
        list_runs(str(tmp_path / "nowhere"))
    assert list_runs(str(tmp_path)) == []
    assert len(format_runs([]).splitlines()) == 1


def test_a_run_that_cannot_be_read_is_listed_and_hides_no_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    found = list_runs(str(tmp_path))
    assert [(run.name, run.state) for run in found] == [("a", "unreadable"), ("b", "unreadable")]
    assert "does not read as a run's record" in found[0].message
    assert "unreadable" in format_runs(found)
