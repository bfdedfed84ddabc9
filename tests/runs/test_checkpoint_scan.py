"""Listing checkpoints reads one small file, which is a cache: whatever is wrong with it, the answer is right."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs as pafs

from tests.runs.checkpoint_cases import config_of, state, trained
from vgim.runs.checkpoint import (
    best_checkpoint,
    complete_checkpoints,
    find_checkpoint,
    write_checkpoint,
)
from vgim.runs.keep import prune_checkpoints
from vgim.runs.litter import sweep_litter
from vgim.runs.recovery import find_recovery
from vgim.runs.weights import save_checkpoint
from vgim.sealed_json import dump_sealed, load_sealed
from vgim.storage import Location

LOSSES = {1: 3.0, 2: 1.0, 3: 2.0, 4: None}


@pytest.fixture
def run(tmp_path: Path) -> Location:
    """A run with checkpoints of the steps 1 to 4, all in the index."""
    encoder, optimizer = trained(0)
    where = Location(tmp_path / "run")
    for step, loss in LOSSES.items():
        save_checkpoint(where, encoder, optimizer, config_of(encoder), state(step, loss))
        prune_checkpoints(where, keep_last=9, keep_best=0)
    return where


def index_of(run: Location) -> Path:
    return run.child("checkpoints", "index.json").local_path


class CountingFilesystem:
    """Passes every call on to a filesystem, and notes its name."""

    def __init__(self, inner: pafs.FileSystem) -> None:
        self.inner, self.calls = inner, list[str]()

    def __getattr__(self, name: str) -> Any:
        self.calls.append(name)
        return getattr(self.inner, name)


def count_calls(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> list[str]:
    """Names of the calls to storage that some work makes."""
    counted = CountingFilesystem(Location("mock://scanned").filesystem)
    opened = Location._open
    with monkeypatch.context() as patch:
        patch.setattr(Location, "_open", lambda self: (counted, opened(self)[1]))
        work()
    return counted.calls


def many_checkpoints(run: Location, count: int) -> None:
    contents = {"weights.safetensors": b"w", "optimizer.safetensors": b"o", "config.yaml": b"c"}
    for step in range(1, count + 1):
        write_checkpoint(run, state(step), contents)
    prune_checkpoints(run, keep_last=count, keep_best=0)


def test_fifty_checkpoints_are_listed_with_two_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Location(f"mock://scanned/{tmp_path.name}")
    many_checkpoints(run, 50)
    found: list[Any] = []
    calls = count_calls(monkeypatch, lambda: found.extend(complete_checkpoints(run)))
    assert [checkpoint.state.step for checkpoint in found] == list(range(1, 51))
    assert len(calls) == 2  # the listing, the index
    calls = count_calls(monkeypatch, lambda: find_checkpoint(run.uri))
    assert len(calls) == 5  # is it a checkpoint, listing, index, is its state there, its state
    # A checkpoint that is not in the index yet is read by itself.
    write_checkpoint(run, state(51), {"weights.safetensors": b"w", "config.yaml": b"c"})
    calls = count_calls(monkeypatch, lambda: found.append(complete_checkpoints(run)[-1]))
    assert found[-1].state.step == 51
    assert len(calls) == 3


def test_pruning_fifty_checkpoints_costs_no_more_calls_than_pruning_five(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for count in (5, 50):
        run = Location(f"mock://scanned/{tmp_path.name}/{count}")
        many_checkpoints(run, count)
        work = lambda: prune_checkpoints(run, keep_last=count - 1, keep_best=0)  # noqa: B023, E731
        counts.append(len(count_calls(monkeypatch, work)))
    assert counts[0] == counts[1]


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def with_another_loss(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"validation_loss": 1.0', b'"validation_loss": 9.0'))


def without_a_checksum(path: Path) -> None:
    content = json.loads(path.read_bytes())
    del content["checksum"]
    path.write_bytes(
        json.dumps(content).encode().replace(b'"validation_loss": 1.0', b'"validation_loss": 9.0')
    )


def of_a_newer_version(path: Path) -> None:
    path.write_bytes(dump_sealed({**load_sealed(path.read_bytes())[0], "more": 1}))


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, emptied, cut, with_another_loss, without_a_checksum, of_a_newer_version],
    ids=lambda damage: damage.__name__,
)
def test_a_missing_or_damaged_index_changes_no_answer(run: Location, damage: Callable[[Path], None]) -> None:
    before = complete_checkpoints(run)
    damage(index_of(run))
    assert complete_checkpoints(run) == before
    assert best_checkpoint(run.uri).state.step == 2
    prune_checkpoints(run, keep_last=9, keep_best=0)  # the next one writes it anew
    assert len(load_sealed(index_of(run).read_bytes())[0]["checkpoints"]) == 4


def test_an_index_of_earlier_is_no_answer(run: Location) -> None:
    encoder, optimizer = trained(0)
    earlier = index_of(run).read_bytes()
    save_checkpoint(run, encoder, optimizer, config_of(encoder), state(5, 0.5))
    prune_checkpoints(run, keep_last=2, keep_best=1)
    index_of(run).write_bytes(earlier)
    assert [c.state.step for c in complete_checkpoints(run)] == [4, 5]
    assert best_checkpoint(run.uri).state.step == 5


def test_a_checkpoint_that_was_replaced_is_read_anew(run: Location, tmp_path: Path) -> None:
    encoder, optimizer = trained(0)
    other = Location(tmp_path / "other")
    theirs = save_checkpoint(other, encoder, optimizer, config_of(encoder), state(3, 0.25))
    ours = run.child("checkpoints", theirs.location.name).local_path
    shutil.rmtree(ours)
    shutil.copytree(theirs.location.local_path, ours)
    assert best_checkpoint(run.uri).state.validation_loss == 0.25


@pytest.mark.parametrize("which", [find_checkpoint, best_checkpoint])
def test_a_state_that_was_replaced_at_the_same_time_and_size_is_read_when_it_is_opened(
    run: Location, which: Callable[[str], Any]
) -> None:
    for step in (2, 4):
        path = run.child("checkpoints", f"step-{step:08d}", "state.json").local_path
        times = path.stat()
        content = {**load_sealed(path.read_bytes())[0], "epoch": 7}
        path.write_bytes(dump_sealed(content))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert path.stat().st_size == times.st_size
    assert which(run.uri).state.epoch == 7


def test_a_folder_that_vanishes_while_it_is_listed_is_no_checkpoint(
    run: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_of(run).unlink()
    read = Location.read_bytes

    def vanishing(self: Location) -> bytes:
        if self.parent.name == "step-00000002":
            shutil.rmtree(self.parent.local_path, ignore_errors=True)
        return read(self)

    monkeypatch.setattr(Location, "read_bytes", vanishing)
    assert [c.state.step for c in complete_checkpoints(run)] == [1, 3, 4]


def test_an_older_damaged_checkpoint_hides_no_other_and_is_not_deleted(run: Location) -> None:
    broken = run.child("checkpoints", "step-00000002", "state.json").local_path
    broken.write_text("{}")
    cut(run.child("checkpoints", "step-00000003", "weights.safetensors").local_path)
    assert [c.state.step for c in complete_checkpoints(run)] == [1, 4]
    assert find_checkpoint(run.uri).state.step == 4
    prune_checkpoints(run, keep_last=1, keep_best=1)
    assert [c.state.step for c in complete_checkpoints(run)] == [1, 4]
    assert broken.exists()


def test_the_newest_checkpoint_without_its_state_is_damaged_if_it_was_complete(run: Location) -> None:
    run.child("checkpoints", "step-00000004", "state.json").delete()
    with pytest.raises(Exception, match=r"step-00000004/state\.json is missing; use .*step-00000003"):
        find_checkpoint(run.uri)
    index_of(run).unlink()  # so that it looks like one that was never finished
    assert find_checkpoint(run.uri).state.step == 3


@pytest.mark.parametrize("name", ["step-4", "step-000000004", "step-0000000\u0664", "step-00000004.bak"])
def test_a_copy_with_another_name_is_no_checkpoint_and_hides_none(run: Location, name: str) -> None:
    copy = run.child("checkpoints", name).local_path
    shutil.copytree(run.child("checkpoints", "step-00000004").local_path, copy)
    (copy / "weights.safetensors").write_bytes(b"damaged")
    recovery = find_recovery(run)
    assert recovery.checkpoint is not None
    assert recovery.checkpoint.location.name == "step-00000004"
    assert not recovery.damaged
    assert [c.state.step for c in complete_checkpoints(run)] == list(LOSSES)
    prune_checkpoints(run, keep_last=1, keep_best=0)
    assert copy.is_dir()


def test_a_file_with_the_name_of_a_step_is_no_checkpoint_and_stays(run: Location) -> None:
    own = run.child("checkpoints", "step-00000777").local_path
    own.write_text("somebody's notes")
    assert [checkpoint.state.step for checkpoint in complete_checkpoints(run)] == [1, 2, 3, 4]
    sweep_litter(run)
    assert own.read_text() == "somebody's notes"


def test_a_folder_in_the_place_of_the_index_is_set_aside(run: Location) -> None:
    index_of(run).unlink()
    index_of(run).mkdir()
    (index_of(run) / "file").write_text("kept")
    prune_checkpoints(run, keep_last=2, keep_best=0)
    assert [checkpoint.state.step for checkpoint in complete_checkpoints(run)] == [3, 4]
    assert index_of(run).is_file()
    assert index_of(run).with_name("damaged-index.json").joinpath("file").read_text() == "kept"
