"""A damaged checkpoint is set aside, and the run goes on from the newest whole one before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.checkpoint_cases import save_some, steps_of
from vgim.errors import CheckpointError
from vgim.pretrained.encoder import load_encoder
from vgim.runs.checkpoint import checkpoint_location
from vgim.runs.keep import prune_checkpoints
from vgim.runs.recovery import find_recovery
from vgim.sealed_json import dump_sealed, load_sealed
from vgim.storage import Location

FILES = ("weights.safetensors", "optimizer.safetensors", "config.yaml", "state.json")
KINDS = ("flip", "truncate", "empty", "delete")


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if kind == "flip":
        path.write_bytes(data)
    elif kind == "delete":
        path.unlink()
    else:
        path.write_bytes(data[: -len(data) // 2] if kind == "truncate" else b"")


def file_of(run: Location, step: int, name: str) -> Path:
    return checkpoint_location(run, step).child(name).local_path


@pytest.fixture
def run(tmp_path: Path) -> Location:
    where = Location(tmp_path / "run")
    save_some(where, {10: None, 20: None, 30: None})
    prune_checkpoints(where, keep_last=9, keep_best=0)
    return where


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", KINDS)
def test_from_a_damaged_newest_a_run_goes_on_from_the_one_before(run: Location, name: str, kind: str) -> None:
    path = file_of(run, 30, name)
    damage(path, kind)
    recovery = find_recovery(run)
    assert steps_of(run)[0] == 10  # so far nothing has changed
    assert path.parent.exists()
    assert recovery.checkpoint is not None
    assert recovery.checkpoint.state.step == 20
    (sentence,) = recovery.set_aside()
    kept = run.child("checkpoints", "damaged-step-00000030")
    assert sentence.startswith(f"{path} is ")
    assert sentence.endswith(
        f"; 10 steps after step 20 will be trained again; the damaged checkpoint is kept as {kept.uri}"
    )
    assert len(kept.list()) == len(FILES) - (kind == "delete")
    assert steps_of(run) == [10, 20]
    assert find_recovery(run).damaged == {}
    save_some(run, {30: None})  # the step is written again, and again it is damaged
    damage(file_of(run, 30, "weights.safetensors"), "flip")
    assert find_recovery(run).set_aside()[0].endswith("damaged-step-00000030-2")


@pytest.mark.parametrize("kind", ["truncate", "empty"])
def test_an_older_damaged_one_is_set_aside_and_nothing_is_lost(run: Location, kind: str) -> None:
    damage(file_of(run, 10, "state.json"), kind)
    damage(file_of(run, 20, "weights.safetensors"), kind)
    recovery = find_recovery(run)
    assert recovery.checkpoint is not None
    assert recovery.checkpoint.state.step == 30
    sentences = recovery.set_aside()
    assert ["a newer one is whole, so nothing is lost" in sentence for sentence in sentences] == [True, True]
    assert steps_of(run) == [30]


def test_the_whole_one_may_be_far_back(run: Location) -> None:
    damage(file_of(run, 20, "optimizer.safetensors"), "flip")
    damage(file_of(run, 30, "state.json"), "flip")
    recovery = find_recovery(run)
    assert recovery.checkpoint is not None
    assert recovery.checkpoint.state.step == 10
    assert [sentence.split("; ")[1] for sentence in recovery.set_aside()] == [
        "10 steps after step 10 will be trained again",
        "20 steps after step 10 will be trained again",
    ]


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_with_a_fix_that_works(run: Location) -> None:
    for step in (10, 20, 30):
        damage(file_of(run, step, "weights.safetensors"), "flip")
    before = run.child("checkpoints").list()
    with pytest.raises(CheckpointError) as e:
        find_recovery(run)
    assert str(e.value) == (
        f"{run.uri} has no whole checkpoint left: {file_of(run, 30, 'weights.safetensors')} is damaged: its SHA-256 is "
        f"not the one in state.json and 2 older ones; restore the file, or delete {run.uri}/checkpoints to train the "
        "run from its start"
    )
    assert run.child("checkpoints").list() == before
    run.child("checkpoints").delete()
    assert find_recovery(run).checkpoint is None


def test_a_checkpoint_of_a_newer_version_is_not_passed_over(run: Location) -> None:
    path = file_of(run, 30, "state.json")
    path.write_bytes(dump_sealed({**load_sealed(path.read_bytes())[0], "schema_version": 3}))
    with pytest.raises(CheckpointError, match=r"was written by another version of vgim.*use that version"):
        find_recovery(run)
    assert path.exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["weights.safetensors", "config.yaml", "state.json"])
def test_a_reader_of_a_run_whose_newest_is_damaged_learns_which_one_is_whole(
    run: Location, name: str, kind: str
) -> None:
    damage(file_of(run, 20, "weights.safetensors"), "flip")
    damage(file_of(run, 30, name), kind)
    for which in ("last", "best"):
        with pytest.raises(CheckpointError) as e:
            load_encoder(run.uri, which=which)
        assert str(e.value).startswith(f"{file_of(run, 30, name)} is ")
        assert f"use {checkpoint_location(run, 10).uri}, the newest" in str(e.value)
    load_encoder(checkpoint_location(run, 10).uri)


def test_a_run_without_an_optimizers_state_is_read_as_before(run: Location) -> None:
    file_of(run, 30, "optimizer.safetensors").unlink()
    assert load_encoder(run.uri).checkpoint.state.step == 30
