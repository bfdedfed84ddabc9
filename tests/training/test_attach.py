"""Configs that may not be attached to a run are refused in one line, before anything starts."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.training.attached_cases import Maker, source_run
from tests.training.cases import run_location
from vgim.config import RunConfig, load_config
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.errors import CheckpointError, ConfigError
from vgim.runs.checkpoint import complete_checkpoints
from vgim.storage import Location
from vgim.training.attach import attached_config, check_same_statistics
from vgim.training.trainer import train


def refused(make: Maker, source: RunConfig, *overrides: str) -> str:
    resolved = make("storage.name=attached", f"attach.run={run_location(source).uri}", *overrides)
    with pytest.raises(ConfigError) as refusal:
        train(resolved)
    assert not run_location(resolved.config).exists()
    (line,) = str(refusal.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.channels=6"], "model.channels=8 there, 6 here"),
        (["model.layers_per_module=[1,3,1]"], "model.layers_per_module=(2, 2, 1) there, (1, 3, 1) here"),
        (["model.preemphasis=0.97"], "model.preemphasis=0.0 there, 0.97 here"),
        (["model.family=gim", "objective.kld_weight=0"], "model.family=sim there, gim here"),
        (["model.batch_norm=none"], "model.batch_norm=local there, none here"),
        (["objective.prediction_steps=4"], "objective.prediction_steps=[3, 3] there, [4, 4] here"),
        (["objective.logvar_max=4"], "objective.logvar_max=none there, 4.0 here"),
        (["data.normalize=utterance"], "data.normalize=none there, utterance here"),
    ],
)
def test_a_source_with_other_modules_or_other_audio_is_refused_by_its_keys(
    tiny_config: Maker, overrides: list[str], named: str
) -> None:
    source = source_run(tiny_config)
    line = refused(tiny_config, source, *overrides)
    assert f"has other modules than the first ones of this config ({named}" in line
    assert line.endswith("set these keys to its values, or attach to another run")


def test_modules_behind_the_sources_and_values_that_leave_its_latents_as_they_are_may_differ(
    tiny_config: Maker,
) -> None:
    source = source_run(tiny_config)
    config = tiny_config(
        "storage.name=attached",
        f"attach.run={run_location(source).uri}",
        "model.gru_units=4",
        "model.extra_modules=2",
        "model.batch_norm=sync",
        "objective.prediction_steps=[3,3,5,5,5,5]",
        "objective.kld_weight=0.002",
        "train.seed=7",
    ).config
    assert attached_config(config, run_location(config)).model.num_modules == 3


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["model.depth=2"], "has 2 modules already, and this config has 2 (model.depth=2), none of which is"),
        (["model.depth=1"], "has 2 modules already, and this config has 1 (model.depth=1), none of which is"),
        (
            ["model.layers_per_module=[5]", "model.gru_units=0"],
            "has 2 modules already, and this config has 1 (the whole encoder), none of which is behind them",
        ),
    ],
)
def test_a_source_as_deep_as_the_config_is_refused(
    tiny_config: Maker, overrides: list[str], named: str
) -> None:
    assert named in refused(tiny_config, source_run(tiny_config), *overrides)


def test_nothing_is_behind_a_gru(tiny_config: Maker) -> None:
    source = source_run(tiny_config, "model.depth=4")
    line = refused(tiny_config, source, "model.extra_modules=2")
    assert "its last module is a GRU, and module 3 is none here; model.extra_modules=0 there, 2 here" in line


def test_a_run_cannot_attach_to_itself(tiny_config: Maker) -> None:
    source = source_run(tiny_config)
    resolved = tiny_config("storage.name=source", f"attach.run={run_location(source).uri}")
    with pytest.raises(ConfigError, match=r"is this run's own folder; give this run another storage\.name"):
        train(resolved)


@pytest.mark.parametrize("option", ["resume_from", "init_from"])
def test_only_one_option_says_where_weights_come_from(tiny_config: Maker, option: str) -> None:
    uri = run_location(source_run(tiny_config)).uri
    resolved = tiny_config("storage.name=attached", f"attach.run={uri}")
    sources: dict[str, Any] = {option: uri}
    with pytest.raises(ConfigError, match=rf"--{option.replace('_', '-')} and --attach both say"):
        train(resolved, **sources)


def test_a_source_without_a_checkpoint_is_refused(tiny_config: Maker, tmp_path: Any) -> None:
    for missing in (tmp_path / "nowhere", tmp_path):
        resolved = tiny_config("storage.name=attached", f"attach.run={missing}")
        with pytest.raises(CheckpointError, match=re.escape(f"attach.run={missing} has no complete")):
            train(resolved)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["train.schedule=sequential"], "train.schedule=sequential has no meaning with attach.run"),
        (["train.schedule=parallel", "cluster.workers=2"], "train.schedule=parallel has no meaning with"),
        (["model.family=cpc", "objective.kld_weight=0"], "attach.run has no meaning for model.family=cpc"),
    ],
)
def test_what_trains_no_single_module_is_refused_with_the_config(overrides: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_config("quickstart", ["attach.run=/runs/source", *overrides])


def test_shards_with_other_statistics_are_refused_where_audio_is_normalized_by_them(
    tiny_config: Maker,
) -> None:
    source = source_run(tiny_config, "data.normalize=corpus")
    (checkpoint, *_) = complete_checkpoints(run_location(source))
    manifest = read_manifest(Location(source.data.shards))
    check_same_statistics(checkpoint, source, manifest)
    other: Manifest = manifest.model_copy(update={"corpus_std": manifest.corpus_std * 2})
    with pytest.raises(ConfigError, match="use its shards"):
        check_same_statistics(checkpoint, source, other)
    plain = tiny_config().config
    check_same_statistics(checkpoint, plain, other)  # nothing is normalized by them


def test_a_name_is_that_of_a_run_beside_this_one() -> None:
    config = load_config("quickstart", ["attach.run=lower", "storage.root=/runs"]).config
    assert config.attach.run == "/runs/lower"
    assert config.trained_modules == (3,)
    assert load_config("quickstart").config.trained_modules == (0, 1, 2, 3)
