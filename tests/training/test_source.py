"""The thread that looks for newer checkpoints of the run that a run is attached to."""

from __future__ import annotations

import shutil
import time
from typing import Any

import pytest

from tests.damage import flip
from tests.training.attached_cases import Maker, hide_newest, source_run
from tests.training.cases import run_location
from vgim.errors import CheckpointError, StorageError
from vgim.runs.checkpoint import checkpoint_location
from vgim.storage import Location
from vgim.training import source as source_module
from vgim.training.source import SourceFollower, read_newest

ANY: dict[str, tuple[int, ...]] = {}


def test_the_newest_whole_checkpoint_is_read_with_its_time(tiny_config: Maker) -> None:
    run = run_location(source_run(tiny_config))
    found = read_newest(run)
    assert found is not None
    assert found.step == 6
    assert found.weights.keys() == found.checkpoint.weights().keys()
    assert 0 <= time.time() - found.written_at < 3600
    assert read_newest(run, newer_than=6) is None
    flip(checkpoint_location(run, 6).child("weights.safetensors").local_path)
    older = read_newest(run)
    assert older is not None
    assert older.step == 3
    with pytest.raises(CheckpointError, match="is damaged"):
        read_newest(run, newer_than=3)


def test_a_newer_checkpoint_is_held_until_it_is_used(tiny_config: Maker) -> None:
    source = source_run(tiny_config)
    run, appear = run_location(source), hide_newest(source)
    follower = SourceFollower(run, 0, ANY)
    follower.look()
    assert (follower.step, follower.ready_step, follower.newest_step) == (0, 3, 3)
    assert follower.age_s() is None  # nobody knows when that of step 0 was written
    appear()
    follower.look()
    assert (follower.step, follower.ready_step, follower.newest_step) == (0, 3, 6)
    assert follower.take(3).step == 3
    assert (follower.step, follower.ready_step) == (3, 0)
    assert follower.age_s() is not None
    follower.look()
    assert (follower.step, follower.ready_step) == (3, 6)
    follower.take(6)
    follower.look()
    assert (follower.step, follower.ready_step) == (6, 0)
    assert follower.new_trouble() is None


def test_what_is_wrong_with_a_source_is_told_once_and_forgotten_when_it_is_right_again(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_location(source_run(tiny_config))
    follower = SourceFollower(run, 6, ANY)

    def fail(*_: Any) -> None:
        raise StorageError("the storage does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(source_module, "scan_checkpoints", fail)
        for told in ("the storage does not answer", None):
            follower.look()
            assert follower.new_trouble() == told
    follower.look()
    assert follower.new_trouble() is None
    shutil.rmtree(run.local_path)
    follower.look()
    assert follower.new_trouble() == f"{run.uri} has no complete checkpoint any more"


def test_a_checkpoint_with_other_tensors_is_not_used(tiny_config: Maker) -> None:
    run = run_location(source_run(tiny_config))
    follower = SourceFollower(run, 3, {"greedy.0.nce.weight": (99, 8, 8)})
    follower.look()
    assert follower.ready_step == 0
    assert "has other tensors than its run had, greedy.0.nce.weight first" in str(follower.new_trouble())


def test_remote_storage_is_looked_at_less_often(tiny_config: Maker) -> None:
    local = SourceFollower(Location("/runs/source"), 0, ANY)
    remote = SourceFollower(Location("s3://bucket/runs/source"), 0, ANY)
    assert local._poll_s == source_module.LOCAL_POLL_S < remote._poll_s == source_module.REMOTE_POLL_S
