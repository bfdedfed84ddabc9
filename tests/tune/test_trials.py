"""The trials of a sweep, and the chains of trials that share modules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tune.sweep_cases import MakeSweep
from vgim.errors import ConfigError
from vgim.tune.sweep_file import from_yaml, to_yaml
from vgim.tune.trials import chains_of, trials_of

SPACE = {"objective.kld_weight": "[0.001, 0.01]", "model.depth": "[2, 1]"}


def ids(chains: Any) -> list[list[str]]:
    return [[trial.id for trial in chain.trials] for chain in chains]


def test_trials_are_runs_inside_the_sweeps_folder_with_the_bases_config(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(SPACE, "train.epochs=3", "name=mine")
    trials = trials_of(sweep)
    assert [t.id for t in trials][:2] == ["kld_weight0.001-depth2", "kld_weight0.001-depth1"]
    first = trials[0]
    assert (first.config.objective.kld_weight, first.config.model.depth, first.config.train.epochs) == (
        0.001,
        2,
        3,
    )
    assert first.run.uri == f"{sweep.base.storage.root}/mine/trials/kld_weight0.001-depth2"
    assert from_yaml(to_yaml(sweep.config), "x") == sweep.config


@pytest.mark.parametrize("name", ["2024", "1e3", "true"])
def test_a_name_of_a_sweep_may_look_like_a_number(tiny_sweep: MakeSweep, name: str) -> None:
    assert tiny_sweep(SPACE, f"name={name}").config.name == name


@pytest.mark.parametrize(
    ("space", "asked", "rates"),
    [
        ({"objective.kld_weight": "[0.001, 0.01]"}, (), [0, 0]),
        ({"objective.kld_weight": "[0.001, 0.01]"}, ("objective.target_rate=3",), [3, 3]),
        ({"optim.learning_rate": "[0.001, 0.01]"}, (), [2, 2]),
        ({"objective.kld_weight": "[0.001]", "objective.target_rate": "[3, 4]"}, (), [3, 4]),
    ],
)
def test_weights_of_a_space_end_a_presets_target_rate_and_no_rate_that_is_asked_for(
    tmp_path: Path, tiny_sweep: MakeSweep, space: dict[str, str], asked: tuple[str, ...], rates: list[float]
) -> None:
    (tmp_path / "held.yaml").write_text("extends: tiny\nobjective: {kld_weight: 0.001, target_rate: 2}\n")
    sweep = tiny_sweep(space, "base=held", *asked)
    assert [trial.config.target_rate for trial in trials_of(sweep)] == rates
    reopened = replace(sweep, preset=None)  # as `vgim sweep show` reads it
    assert trials_of(reopened) == trials_of(sweep)


@pytest.mark.parametrize("asked", [(), ("model.gru_bidirectional=true",)])
def test_units_of_a_space_that_are_none_end_both_directions_of_their_trials_alone(
    tmp_path: Path, tiny_sweep: MakeSweep, asked: tuple[str, ...]
) -> None:
    (tmp_path / "both.yaml").write_text("extends: tiny\nmodel: {gru_bidirectional: true}\n")
    sweep = tiny_sweep({"model.gru_units": "[0, 8]"}, "base=both", *asked)
    assert [trial.config.model.gru_bidirectional for trial in trials_of(sweep)] == [False, True]
    assert trials_of(replace(sweep, preset=None)) == trials_of(sweep)


def test_an_override_of_a_key_of_the_space_is_refused_with_a_command_that_works(
    tmp_path: Path, tiny_sweep: MakeSweep
) -> None:
    """It had no effect but to end what the preset sets for a family, such as normalized posteriors."""
    (tmp_path / "normed.yaml").write_text(
        "extends: tiny\nmodel: {posterior_norm: local}\nobjective: {kld_weight: 0}\n"
    )
    space = {"model.family": "[gim, sim]"}
    with pytest.raises(ConfigError, match=r"model\.family=gim has no effect.*space\.model\.family=\[gim\]"):
        tiny_sweep(space, "base=normed", "model.family=gim")
    both = [trial.config.model.posterior_norm for trial in trials_of(tiny_sweep(space, "base=normed"))]
    one = [
        t.config.model.family for t in trials_of(tiny_sweep(space, "base=normed", "space.model.family=[gim]"))
    ]
    assert (both, one) == (["none", "local"], ["gim"])


def test_steps_of_each_module_are_values_of_a_space_at_every_depth(tiny_sweep: MakeSweep) -> None:
    space = {"objective.prediction_steps": "[3, [12, 5, 2, 3]]", "model.depth": "[2, 1]"}
    sweep = tiny_sweep(space, "train.schedule=sequential")
    trials = trials_of(sweep)
    assert [[t.config.objective.steps_of_module(m) for m in t.config.trained_modules] for t in trials] == [
        [3, 3],
        [3],
        [12, 5],
        [12],
    ]
    assert len({trial.id for trial in trials}) == 4
    assert [len(chain.trials) for chain in chains_of(sweep, trials)] == [2, 2]


def test_under_sequential_trials_that_differ_in_depth_alone_form_one_chain(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(SPACE, "train.schedule=sequential")
    assert ids(chains_of(sweep, trials_of(sweep))) == [
        ["kld_weight0.001-depth1", "kld_weight0.001-depth2"],
        ["kld_weight0.01-depth1", "kld_weight0.01-depth2"],
    ]


@pytest.mark.parametrize(
    "settings",
    [
        ("train.schedule=joint",),
        ("train.schedule=sequential", "share_depth=false"),
        ("train.schedule=sequential", "scheduler.kind=asha"),
    ],
)
def test_without_shared_depth_every_trial_is_a_chain_of_its_own(
    tiny_sweep: MakeSweep, settings: tuple[str, ...]
) -> None:
    sweep = tiny_sweep(SPACE, *settings)
    assert [len(chain.trials) for chain in chains_of(sweep, trials_of(sweep))] == [1] * 4
