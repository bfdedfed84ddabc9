"""The listing of runs: state, progress and losses as the runs' folders hold them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.cases import run_location
from vgim.config import ResolvedConfig
from vgim.errors import StorageError
from vgim.runs import listing
from vgim.runs.folder import RunFolder
from vgim.runs.listing import format_runs, list_runs
from vgim.storage import Location
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
LONG_AGO = "2020-01-01T00:00:00+00:00"


def test_a_target_rate_is_listed_from_the_runs_own_record(tiny_config: Maker) -> None:
    held = tiny_config("storage.name=held", "objective.target_rate=15").config
    RunFolder(run_location(held)).claim(held, "f" * 64)
    (summary,) = list_runs(held.storage.root)
    assert (summary.target_rate, summary.kld_weight) == (15, 0.001)
    record = run_location(held).child("run.json")
    older = json.loads(record.read_text())
    del older["target_rate"]  # as versions without it wrote
    record.write_bytes_atomic(json.dumps(older).encode())
    (summary,) = list_runs(held.storage.root)
    assert summary.target_rate == 0


def test_runs_are_listed_with_state_progress_and_losses(tiny_config: Maker) -> None:
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
    held = replace(done, target_rate=15.0)
    assert format_runs([held]).splitlines()[1].split()[:5] == ["b-finished", "finished", "sim", "15", "nats"]
    assert lines[1].split()[-3:] == ["-", "-", "0"]


def test_a_stopped_run_is_listed_with_the_step_of_its_checkpoint(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=3", "train.log_every_steps=10")
    train(config)
    metrics = run_location(config.config).child("metrics.jsonl")
    before_the_stop = [line for line in metrics.read_text().splitlines() if json.loads(line)["step"] <= 1]
    metrics.write_bytes_atomic("".join(f"{line}\n" for line in before_the_stop).encode())
    (run,) = list_runs(config.config.storage.root)
    assert run.step == 3


def test_a_running_run_that_writes_nothing_for_long_is_listed_as_interrupted(
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
    assert state(record.updated, hours_ago) == "running"  # the run was continued just now
    monkeypatch.setattr(listing, "SILENT_SECONDS", 10_000.0)
    assert state(record.updated, hours_ago) == "running"


def test_a_failed_run_keeps_its_state_however_old(tiny_config: Maker) -> None:
    config = tiny_config().config
    folder = RunFolder(run_location(config))
    folder.claim(config, "f" * 64)
    folder.set_state("failed", "module 2 is not finite")
    record = folder.record()
    assert record is not None
    folder.write(record.model_copy(update={"updated": LONG_AGO}))
    (summary,) = list_runs(config.storage.root)
    assert (summary.state, summary.message) == ("failed", "module 2 is not finite")


def test_a_validation_loss_that_is_not_finite_is_listed_as_a_dash(tiny_config: Maker) -> None:
    config = tiny_config().config
    folder = RunFolder(run_location(config))
    folder.claim(config, "f" * 64)
    record = {
        "kind": "validation",
        "step": 10,
        "epoch": 1,
        "time": time.time(),
        "loss": None,
        "crops": 4,
        "modules": [{"module": 0, "nce": None}],
    }
    folder.location.child("metrics.jsonl").local_path.write_text(json.dumps(record) + "\n")
    (summary,) = list_runs(config.storage.root)
    assert (summary.best_loss, summary.nce) == (None, (None,))
    assert format_runs([summary]).splitlines()[1].split()[-3:] == ["-", "-", "0"]


def test_a_missing_storage_folder_is_named_in_the_error(tmp_path: Path) -> None:
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


def test_a_folder_that_may_not_be_read_hides_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Location.exists

    def exists(place: Location) -> bool:
        if place.parent.name == "lost+found":
            raise StorageError(f"cannot look up {place}: permission denied")
        return real(place)

    monkeypatch.setattr(Location, "exists", exists)
    for name in ("a", "lost+found", "no-run"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "run.json").write_text("{}")
    a, lost = list_runs(str(tmp_path))
    assert (a.name, lost.name, lost.state) == ("a", "lost+found", "unreadable")
    assert "permission denied" in lost.message


def test_a_copied_run_is_listed_by_the_name_that_commands_find_it_by(tiny_config: Maker) -> None:
    resolved = tiny_config("storage.name=original")
    RunFolder(run_location(resolved.config)).claim(resolved.config, "f" * 64)
    original = run_location(resolved.config).local_path
    shutil.copytree(original, original.parent / "copy")
    assert [run.name for run in list_runs(resolved.config.storage.root)] == ["copy", "original"]
