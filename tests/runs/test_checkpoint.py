"""Checkpoints are whole or absent, say what is wrong with them, and execute nothing."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runs.checkpoint_cases import config_of, save_some, state, state_of, steps_of, trained
from tests.training.cases import adam, assert_same, copied_weights, differ, small_encoder
from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.errors import CheckpointError, StorageError
from vgim.runs.checkpoint import (
    Checkpoint,
    best_checkpoint,
    checkpoint_location,
    complete_checkpoints,
    find_checkpoint,
    write_checkpoint,
)
from vgim.runs.keep import prune_checkpoints
from vgim.runs.layout import OPTIMIZER, STATE, STATISTICS, WEIGHTS
from vgim.runs.training_state import FILE_NAMES
from vgim.runs.weights import add_statistics, load_optimizer, load_weights, save_checkpoint
from vgim.storage import Location


@pytest.fixture(params=["local", "remote"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location(tmp_path / "run" if request.param == "local" else f"mock://runs/{tmp_path.name}")


def test_weights_optimizer_config_and_state_come_back_as_they_were(run: Location) -> None:
    encoder, optimizer = trained()
    saved = save_checkpoint(run, encoder, optimizer, config_of(encoder), state(20, 1.5))
    found = find_checkpoint(run.uri)
    assert found == saved
    assert found.config() == config_of(encoder)
    assert found.state == state(20, 1.5, files=found.state.files)
    fresh = small_encoder()
    fresh_optimizer = adam(fresh)
    assert differ(copied_weights(fresh), copied_weights(encoder))
    load_weights(found, fresh)
    load_optimizer(found, fresh, fresh_optimizer)
    assert_same(copied_weights(fresh), copied_weights(encoder))
    assert_same(state_of(fresh_optimizer), state_of(optimizer))
    assert len(state_of(optimizer)) == 3 * len(list(encoder.parameters()))
    assert {group["lr"] for group in fresh_optimizer.param_groups} == {2e-4}


def test_an_optimizer_that_took_no_step_comes_back_empty(run: Location) -> None:
    encoder, optimizer = trained(0)
    save_checkpoint(run, encoder, optimizer, config_of(encoder), state(0))
    load_optimizer(find_checkpoint(run.uri), encoder, optimizer)
    assert not optimizer.state_dict()["state"]


def test_loading_unpickles_nothing(run: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, optimizer = trained()
    save_checkpoint(run, encoder, optimizer, config_of(encoder), state(1))
    assert checkpoint_location(run, 1).list() == [
        "config.yaml",
        "optimizer.safetensors",
        "state.json",
        "weights.safetensors",
    ]

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("unpickled")

    for module, name in ((pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")):
        monkeypatch.setattr(module, name, refuse)
    found = find_checkpoint(run.uri)
    load_weights(found, encoder)
    load_optimizer(found, encoder, optimizer)


@pytest.mark.parametrize("stop_at", range(1, 5))
def test_a_checkpoint_whose_writing_stopped_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    run = Location(tmp_path)
    save_some(run, {10: None})
    written: list[str] = []
    write = Location.write_bytes_atomic

    def stopping(self: Location, data: bytes) -> None:
        if len(written) + 1 == stop_at:
            raise StorageError("the disk is full")
        written.append(self.name)
        write(self, data)

    monkeypatch.setattr(Location, "write_bytes_atomic", stopping)
    with pytest.raises(StorageError, match="full"):
        save_some(run, {20: None})
    monkeypatch.undo()
    assert len(written) == stop_at - 1
    assert steps_of(run) == [10]
    assert find_checkpoint(run.uri).state.step == 10
    with pytest.raises(
        CheckpointError, match=r"step-00000020 is no complete checkpoint: it has no state.json"
    ):
        Checkpoint.open(checkpoint_location(run, 20))
    with pytest.raises(
        CheckpointError, match=r"deletes older ones \(train\.keep_last\); then the same command"
    ):
        Checkpoint.open(checkpoint_location(run, 5))
    save_some(run, {20: None})  # the step taken again is saved over the half
    assert steps_of(run) == [10, 20]
    assert find_checkpoint(run.uri).weights()


@pytest.mark.parametrize("stop_at", [STATISTICS, STATE])
def test_a_checkpoint_is_whole_where_adding_statistics_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    encoder, optimizer = trained(0)
    saved = save_checkpoint(Location(tmp_path), encoder, optimizer, config_of(encoder), state(10))
    write = Location.write_bytes_atomic

    def stopping(self: Location, data: bytes) -> None:
        if self.name == stop_at:
            raise StorageError("the disk is full")
        write(self, data)

    monkeypatch.setattr(Location, "write_bytes_atomic", stopping)
    with pytest.raises(StorageError, match="full"):
        add_statistics(saved, {})
    monkeypatch.undo()
    assert find_checkpoint(tmp_path) == saved
    saved.check_files(FILE_NAMES)
    add_statistics(saved, {})
    with_statistics = find_checkpoint(tmp_path)
    assert with_statistics.state.files.keys() == {*saved.state.files, STATISTICS}
    with_statistics.check_files(FILE_NAMES)


def test_a_folder_deleted_while_it_is_written_becomes_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Location(tmp_path)
    save_some(run, {10: None})
    write = Location.write_bytes_atomic

    def deleting(self: Location, data: bytes) -> None:
        if self.name == "state.json":
            shutil.rmtree(checkpoint_location(run, 20).local_path)
        write(self, data)

    monkeypatch.setattr(Location, "write_bytes_atomic", deleting)
    with pytest.raises(StorageError, match=r"step-00000020 was deleted while it was written: weights"):
        save_some(run, {20: None})
    monkeypatch.undo()
    assert not checkpoint_location(run, 20).exists()
    assert steps_of(run) == [10]
    save_some(run, {20: None})
    assert find_checkpoint(run.uri).weights()


def test_a_step_that_is_saved_already_is_left_as_it_is(tmp_path: Path) -> None:
    encoder, optimizer = trained()
    save_checkpoint(Location(tmp_path), encoder, optimizer, config_of(encoder), state(5))
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = save_checkpoint(Location(tmp_path), encoder, optimizer, config_of(encoder), state(5))
    assert again.state.files
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "config.yaml"])
def test_a_damaged_byte_is_found_and_the_file_named(tmp_path: Path, name: str) -> None:
    encoder, optimizer = trained()
    found = save_checkpoint(Location(tmp_path), encoder, optimizer, config_of(encoder), state(5))
    path = found.location.child(name).local_path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    def load() -> None:
        load_weights(found, encoder)
        load_optimizer(found, encoder, optimizer)

    with pytest.raises(CheckpointError, match=rf"step-00000005/{name} is damaged.*restore the file"):
        load()
    path.unlink()
    with pytest.raises(CheckpointError, match=rf"step-00000005/{name} is missing"):
        load()


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER])
def test_a_whole_file_without_tensors_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    run = Location(tmp_path)
    save_some(run, {1: None, 2: None})
    older, newest = complete_checkpoints(run)
    foreign = write_checkpoint(run, newest.state, {**newest.contents(), name: b"no tensors"})
    read = foreign.weights if name == WEIGHTS else foreign.optimizer
    with pytest.raises(CheckpointError, match="does not read") as error:
        read()
    assert foreign.location.child(name).uri in str(error.value)
    assert f"use {older.location.uri}" in str(error.value)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimizer.safetensors", "config.yaml", "state.json"]
)
def test_a_damaged_folder_of_the_step_is_set_aside_and_the_step_written_again(
    tmp_path: Path, name: str
) -> None:
    encoder, optimizer = trained()
    run = Location(tmp_path)
    saved = save_checkpoint(run, encoder, optimizer, config_of(encoder), state(5))
    path = saved.location.child(name).local_path
    path.write_bytes(path.read_bytes()[:-1])
    again = save_checkpoint(run, encoder, optimizer, config_of(encoder), state(5))
    assert again == saved
    assert again.damage(["weights.safetensors", "optimizer.safetensors", "config.yaml"]) is None
    assert len(run.child("checkpoints", "damaged-step-00000005").list()) == 4
    assert steps_of(run) == [5]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({"channels": 16}, "model.channels=16 there, 8 here"),
        ({"gru_units": 4}, "model.gru_units=4 there, 8 here"),
        ({"family": "gim", "depth": 2}, "model.family=gim there, sim here; model.depth=2 there, 0 here"),
        ({"gru_bidirectional": True}, "model.gru_bidirectional=true there, false here"),
    ],
)
def test_another_architecture_is_refused_by_its_keys(
    tmp_path: Path, model: dict[str, Any], told: str
) -> None:
    encoder, optimizer = trained(0, **model)
    found = save_checkpoint(Location(tmp_path), encoder, optimizer, config_of(encoder), state(1))
    here = small_encoder()
    before = copied_weights(here)
    with pytest.raises(CheckpointError) as e:
        load_weights(found, here)
    assert f"({told})" in str(e.value)
    assert_same(copied_weights(here), before)


def test_other_tensors_of_the_same_model_section_are_named(tmp_path: Path) -> None:
    encoder = small_encoder(objective={"prediction_steps": 5})
    found = save_checkpoint(Location(tmp_path), encoder, adam(encoder), config_of(encoder), state(1))
    with pytest.raises(CheckpointError) as e:
        load_weights(found, small_encoder())
    assert "has other tensors than this run: greedy.0.nce.weight" in str(e.value)
    assert "and 1 more" in str(e.value)


def test_pruning_keeps_the_newest_and_the_best(run: Location) -> None:
    save_some(run, {1: 3.0, 2: 1.0, 3: None, 4: 2.0, 5: 2.5, 6: None})
    prune_checkpoints(run, keep_last=2, keep_best=2)
    assert steps_of(run) == [2, 4, 5, 6]
    assert best_checkpoint(run.uri).state.step == 2
    prune_checkpoints(run, keep_last=1, keep_best=0)
    assert steps_of(run) == [6]
    assert run.child("checkpoints").list() == ["index.json", "step-00000006"]
    assert best_checkpoint(run.uri).state.step == 6  # none was validated: the newest


def test_pruning_keeps_the_ends_of_every_nth_epoch(run: Location) -> None:
    encoder, optimizer = trained(0)
    positions = {
        5: (0, 5),
        10: (1, 0),
        20: (2, 0),
        25: (2, 5),
        40: (4, 0),
        50: (5, 0),
        60: (6, 0),
        63: (6, 3),
    }
    for step, (epoch, step_in_epoch) in positions.items():
        at = state(step, loss=float(step), epoch=epoch, step_in_epoch=step_in_epoch)
        save_checkpoint(run, encoder, optimizer, config_of(encoder), at)
    prune_checkpoints(run, keep_last=1, keep_best=1, keep_every_epochs=2)
    assert steps_of(run) == [5, 20, 40, 60, 63]  # 5 is the best, 63 the newest
    prune_checkpoints(run, keep_last=1, keep_best=0, keep_every_epochs=4)
    assert steps_of(run) == [40, 63]
    prune_checkpoints(run, keep_last=1, keep_best=0)
    assert steps_of(run) == [63]


def test_pruning_leaves_a_half_written_folder_and_other_files_alone(tmp_path: Path) -> None:
    run = Location(tmp_path)
    save_some(run, {1: None, 2: None, 3: None})
    checkpoint_location(run, 3).child("state.json").delete()
    (tmp_path / "checkpoints" / "notes.txt").write_text("mine")
    prune_checkpoints(run, keep_last=1, keep_best=1)
    assert run.child("checkpoints").list() == ["index.json", "notes.txt", "step-00000002", "step-00000003"]


def test_a_user_may_name_a_checkpoint_or_its_run(tmp_path: Path) -> None:
    save_some(Location(tmp_path), {1: None, 2: None})
    assert find_checkpoint(str(tmp_path)).state.step == 2
    assert find_checkpoint(checkpoint_location(Location(tmp_path), 1).uri).state.step == 1
    with pytest.raises(CheckpointError, match=r"there is no folder .*/nowhere; name a run's folder"):
        find_checkpoint(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"empty holds no complete checkpoint; name a run's folder"):
        find_checkpoint(str(tmp_path / "empty"))


def test_models_that_differ_only_in_objective_share_weights(tmp_path: Path) -> None:
    encoder, optimizer = trained()
    found = save_checkpoint(Location(tmp_path), encoder, optimizer, config_of(encoder), state(1))
    other = small_encoder(objective={"num_negatives": 7, "kld_weight": 0.5})
    load_weights(found, other)
    assert_same(copied_weights(other), copied_weights(encoder))
    assert ModelConfig(channels=8, gru_units=8) == other.model
    assert other.objective != ObjectiveConfig()
