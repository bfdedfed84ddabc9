"""Readers of a run that augments its crops get statistics of crops as they were recorded; training keeps its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.damage import delete, flip
from tests.training.cases import assert_same, last_checkpoint, run_location, single_rank_trainer
from tests.training.test_resume import Killed, Mortal
from vgim import load_encoder
from vgim.config import ResolvedConfig, RunConfig
from vgim.errors import CheckpointError
from vgim.model.stack import build_encoder
from vgim.runs.checkpoint import (
    best_checkpoint,
    checkpoints_and_damage,
    complete_checkpoints,
    find_checkpoint,
    write_checkpoint,
)
from vgim.runs.checkpoint_scan import TO_READ
from vgim.runs.layout import CONFIG, STATISTICS, WEIGHTS
from vgim.runs.recovery import find_recovery
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
NOISE = "data.augment.noise_snr_db=0"
NORMED = ("model.posterior_norm=local", "train.max_steps=12", "train.validate_every_epochs=99")


def trained(make: Maker, *overrides: str) -> RunConfig:
    config = make(*overrides).config
    single_rank_trainer(config).run()
    return config


def moments_of_first_head(weights: dict[str, Tensor], plain: RunConfig) -> Tensor:
    """Mean and variance over frames of the head's first half, in the first module, [2, C]: means over batches.

    Args:
        plain: A config without augmentation.
    """
    encoder = build_encoder(plain.model, plain.objective, 0)
    encoder.load_state_dict(weights)
    module = encoder.train().module(0)
    assert module.posterior is not None
    moments = []
    for batch in single_rank_trainer(plain).batches.train_streams[0].train_batches(0, 0, epochs=1):
        audio = torch.from_numpy(batch.audio) / 2**15
        audio = (audio - torch.from_numpy(batch.mean)[:, None]) / torch.from_numpy(batch.std)[:, None]
        with torch.no_grad():
            a_RC = module.posterior.project(module.run_layers(audio)).chunk(2, -1)[0].flatten(0, 1).double()
        moments.append(torch.stack([a_RC.mean(0), a_RC.var(0, correction=0)]))
    return torch.stack(moments).mean(0)


def test_they_are_the_means_over_recorded_crops(tiny_config: Maker) -> None:
    config = trained(tiny_config, NOISE, *NORMED, "data.normalize=utterance")
    weights = last_checkpoint(config).weights()
    plain = tiny_config(*NORMED, "data.normalize=utterance", "storage.name=plain").config
    mean, var = moments_of_first_head(weights, plain)
    norm = load_encoder(run_location(config).uri).encoder.module(0).posterior_norm
    assert norm is not None
    assert norm.running_mean is not None
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var.double(), var, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(norm.running_var, weights["greedy.0.posterior_norm.running_var"], rtol=0.02)


def test_nothing_but_statistics_differs_from_the_weights_of_training(tiny_config: Maker) -> None:
    checkpoint = last_checkpoint(trained(tiny_config, NOISE, *NORMED, "model.batch_norm=local"))
    weights, read = checkpoint.weights(), checkpoint.weights_for_readers()
    differing = {name for name in weights if not torch.equal(weights[name], read[name])}
    assert differing == {name for name in weights if "running_" in name}
    assert checkpoint.weights().keys() == read.keys()
    assert checkpoint.sha256_for_readers != checkpoint.state.files[WEIGHTS].sha256


@pytest.mark.parametrize(
    "settings",
    [("model.posterior_norm=local",), (NOISE, "model.batch_norm=none", "model.posterior_norm=none")],
    ids=["no augmentation", "no statistics"],
)
def test_other_runs_have_none(tiny_config: Maker, settings: tuple[str, ...]) -> None:
    checkpoint = last_checkpoint(trained(tiny_config, "train.max_steps=2", *settings))
    assert STATISTICS not in checkpoint.state.files
    assert_same(checkpoint.weights(), checkpoint.weights_for_readers())
    assert checkpoint.sha256_for_readers == checkpoint.state.files[WEIGHTS].sha256


def test_checkpoints_that_stay_have_them_and_those_on_the_way_do_not(tiny_config: Maker) -> None:
    settings = ("train.epochs=5", "train.keep_every_epochs=2", "train.keep_last=3", "train.keep_best=0")
    config = trained(tiny_config, NOISE, *settings)
    found = {c.state.epoch: STATISTICS in c.state.files for c in complete_checkpoints(run_location(config))}
    assert found == {2: True, 3: False, 4: True, 5: True}


def test_a_run_that_goes_on_from_one_equals_a_straight_run(tiny_config: Maker) -> None:
    """Validation reads running statistics, and training must go on with its own."""
    settings = (NOISE, "model.posterior_norm=local")
    straight = trained(tiny_config, *settings, "storage.name=straight", "train.epochs=4")
    trained(tiny_config, *settings, "storage.name=twice", "train.epochs=2")
    twice = trained(tiny_config, *settings, "storage.name=twice", "train.epochs=4")
    one, other = last_checkpoint(straight), last_checkpoint(twice)
    assert_same(one.weights(), other.weights())
    assert_same(one.weights_for_readers(), other.weights_for_readers())
    assert one.state.validation_loss == other.state.validation_loss


def test_a_killed_run_ends_with_those_of_a_straight_run(tiny_config: Maker) -> None:
    settings = (NOISE, "model.posterior_norm=local", "train.checkpoint_every_steps=7")
    straight = trained(tiny_config, *settings, "storage.name=straight")
    killed = tiny_config(*settings, "storage.name=killed").config
    with pytest.raises(Killed):
        single_rank_trainer(killed, Mortal).run()
    single_rank_trainer(killed).run()
    assert_same(
        last_checkpoint(straight).weights_for_readers(), last_checkpoint(killed).weights_for_readers()
    )


def test_damaged_ones_are_refused_by_name(tiny_config: Maker) -> None:
    config = trained(tiny_config, NOISE, *NORMED)
    path = last_checkpoint(config).location.child(STATISTICS).local_path
    assert path is not None
    flip(path)
    with pytest.raises(CheckpointError, match=r"statistics\.safetensors is damaged: its SHA-256"):
        load_encoder(run_location(config).uri)
    path.unlink()
    with pytest.raises(CheckpointError, match=r"statistics\.safetensors is missing"):
        load_encoder(run_location(config).uri)


def test_a_run_that_ends_at_a_checkpoint_of_the_way_gets_those_of_a_straight_run(tiny_config: Maker) -> None:
    settings = (NOISE, "model.posterior_norm=local")
    straight = trained(tiny_config, *settings, "storage.name=straight", "train.epochs=2")
    longer = tiny_config(*settings, "storage.name=shortened", "train.epochs=4").config
    single_rank_trainer(longer, until_epoch=2).run()
    before = last_checkpoint(longer)
    assert STATISTICS not in before.state.files
    shortened = trained(tiny_config, *settings, "storage.name=shortened", "train.epochs=2")
    one, other = last_checkpoint(straight), last_checkpoint(shortened)
    assert one.state == other.state.model_copy(
        update={"files": {**other.state.files, CONFIG: one.state.files[CONFIG]}}
    )
    assert before.contents() == {name: other.read_file(name) for name in before.state.files}
    assert_same(one.weights_for_readers(), other.weights_for_readers())


@pytest.mark.parametrize("damage", [flip, delete])
def test_the_same_command_measures_lost_ones_again(
    tiny_config: Maker, damage: Callable[[Path], None]
) -> None:
    resolved = tiny_config(NOISE)
    train(resolved)
    checkpoint = last_checkpoint(resolved.config)
    path = checkpoint.location.child(STATISTICS).local_path
    assert path is not None
    measured, changed = path.read_bytes(), path.parent.stat().st_mtime_ns
    train(resolved)
    assert path.parent.stat().st_mtime_ns == changed, "a whole file is left as it is"
    damage(path)
    train(resolved)
    assert path.read_bytes() == measured
    assert last_checkpoint(resolved.config) == checkpoint


def test_a_lost_file_is_damage_to_readers_and_none_to_training(tiny_config: Maker) -> None:
    settings = (NOISE, "train.keep_every_epochs=1")
    config = trained(tiny_config, *settings, "train.epochs=2")
    run, (older, newest) = run_location(config), complete_checkpoints(run_location(config))
    newest.location.child(STATISTICS).delete()
    for choose in (find_checkpoint, best_checkpoint):
        with pytest.raises(CheckpointError, match=r"statistics\.safetensors is missing") as error:
            choose(run.uri)
        assert f"use {older.location.uri}" in str(error.value)
    assert complete_checkpoints(run, TO_READ) == [older]
    _, (damage,) = checkpoints_and_damage(run)
    assert damage.file == newest.location.child(STATISTICS)
    assert not find_recovery(run).damaged
    trained(tiny_config, *settings, "train.epochs=3")
    assert [c.state.epoch for c in complete_checkpoints(run)] == [1, 2, 3]


def test_the_newest_whole_checkpoint_that_an_error_names_has_a_whole_file(tiny_config: Maker) -> None:
    config = trained(tiny_config, NOISE, "train.keep_every_epochs=1", "train.epochs=3")
    oldest, older, newest = complete_checkpoints(run_location(config))
    newest.location.child(WEIGHTS).delete()
    path = older.location.child(STATISTICS).local_path
    assert path is not None
    flip(path)
    with pytest.raises(CheckpointError, match=f"use {oldest.location.uri}"):
        find_checkpoint(run_location(config).uri)


def nothing(statistics: dict[str, Tensor]) -> None:
    statistics.clear()


def one_missing(statistics: dict[str, Tensor]) -> None:
    del statistics["greedy.0.posterior_norm.running_var"]


def one_more(statistics: dict[str, Tensor]) -> None:
    statistics["greedy.0.posterior.weight"] = torch.zeros(1)


def another_shape(statistics: dict[str, Tensor]) -> None:
    statistics["greedy.0.posterior_norm.running_var"] = torch.ones(3)


def not_a_number(statistics: dict[str, Tensor]) -> None:
    statistics["greedy.0.posterior_norm.running_var"][0] = torch.nan


@pytest.mark.parametrize("change", [nothing, one_missing, one_more, another_shape, not_a_number])
def test_a_whole_file_of_other_statistics_is_refused_by_its_name(
    tiny_config: Maker, change: Callable[[dict[str, Tensor]], None]
) -> None:
    config = trained(tiny_config, NOISE, "model.posterior_norm=local", "train.max_steps=2")
    checkpoint = last_checkpoint(config)
    statistics = safetensors.torch.load(checkpoint.read_file(STATISTICS))
    change(statistics)
    contents = {**checkpoint.contents(), STATISTICS: safetensors.torch.save(statistics)}
    write_checkpoint(run_location(config), checkpoint.state, contents)
    with pytest.raises(CheckpointError, match=r"statistics\.safetensors does not fit the weights: greedy"):
        load_encoder(run_location(config).uri)
