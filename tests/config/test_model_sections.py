"""Sections of the encoder and its loss: K of each module."""

from __future__ import annotations

from pathlib import Path

import pytest

from vgim.config import blocking_difference, from_yaml, load_config, to_yaml
from vgim.config.schema import ObjectiveConfig
from vgim.errors import ConfigError

STEPS = "objective.prediction_steps"


def steps(*overrides: str) -> list[int]:
    config = load_config("quickstart", overrides).config
    return [config.objective.steps_of_module(m) for m in config.trained_modules]


def test_one_number_is_the_k_of_every_module_and_a_list_has_one_for_each() -> None:
    assert steps(f"{STEPS}=7") == [7] * 4
    assert steps(f"{STEPS}=[32,8,4,2]") == [32, 8, 4, 2]
    assert steps(f"{STEPS}=[32]", "model.family=cpc", "objective.kld_weight=0") == [32]
    assert steps(f"{STEPS}=[32,8,4]", "model.gru_units=0") == [32, 8, 4]


def test_a_depth_leaves_entries_out_so_that_runs_of_all_depths_have_one_list() -> None:
    assert steps(f"{STEPS}=[32,8,4,2]", "model.depth=2") == [32, 8]
    with pytest.raises(ConfigError) as refusal:
        steps(f"{STEPS}=[32,8]", "model.depth=2")
    assert str(refusal.value) == (
        "objective.prediction_steps=[32, 8] is a list of 2 but the encoder has 4 modules; give one for each, "
        "whatever model.depth=2 leaves out, or one number for all (objective.prediction_steps from override, "
        "model.depth from override)"
    )


@pytest.mark.parametrize(
    "wrong", ["0", "[]", "[32, 0, 4, 4]", "[32, 8]", "[1, 2, 3, 4, 5]", "2000", "[2000, 8, 4, 4]"]
)
def test_steps_of_a_wrong_number_or_length_are_refused_in_one_line(wrong: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        steps(f"{STEPS}={wrong}")
    (line,) = str(refusal.value).splitlines()
    assert line.startswith(f"{STEPS}={wrong} ")
    of_length = wrong in ("[]", "[32, 8]", "[1, 2, 3, 4, 5]")
    assert (
        "the encoder has 4 modules; give one for each, or one number for all" if of_length else "at most 1024"
    ) in line


def test_a_list_of_steps_is_written_read_and_compared_like_any_value() -> None:
    listed, plain = (load_config("quickstart", [f"{STEPS}={v}"]).config for v in ("[32,8,4,2]", "12"))
    assert from_yaml(to_yaml(listed), "x") == listed
    assert blocking_difference(plain, listed) == [f"{STEPS}: 12 → [32, 8, 4, 2]"]


def test_a_list_of_equal_steps_means_the_same_as_the_number() -> None:
    assert ObjectiveConfig(prediction_steps=(4, 4, 4)).plain_steps == 4
    assert ObjectiveConfig(prediction_steps=4).plain_steps == 4
    assert ObjectiveConfig(prediction_steps=(4, 4, 2)).plain_steps == (4, 4, 2)


@pytest.mark.parametrize(
    "overrides", [["model.gru_units=0"], ["model.gru_units=0", "objective.kld_weight=0.01"]]
)
def test_no_gru_ends_both_directions_of_a_preset(overrides: list[str]) -> None:
    resolved = load_config("quickstart", overrides)
    assert load_config("quickstart").config.model.gru_bidirectional
    assert not resolved.config.model.gru_bidirectional
    assert resolved.sources["model.gru_bidirectional"] == "override"


def test_a_preset_that_extends_one_of_two_directions_ends_them_by_no_gru(tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("extends: quickstart\nmodel: {gru_units: 0}\n")
    assert not load_config(str(child)).config.model.gru_bidirectional
    with pytest.raises(ConfigError, match=r"gru_bidirectional=true \(from override\) has no effect beside"):
        load_config(str(child), ["model.gru_bidirectional=true"])


@pytest.mark.parametrize("directions_first", [True, False])
def test_both_directions_that_are_asked_for_need_a_gru(directions_first: bool) -> None:
    both = ["model.gru_bidirectional=true", "model.gru_units=0"]
    with pytest.raises(ConfigError) as refusal:
        load_config("quickstart", both if directions_first else both[::-1])
    assert str(refusal.value) == (
        "model.gru_bidirectional=true (from override) has no effect beside model.gru_units=0 (from override), which "
        "is no GRU; set model.gru_units above 0, or model.gru_bidirectional=false"
    )


def test_the_config_of_a_run_with_directions_of_no_gru_stays_readable() -> None:
    config = load_config("quickstart").config
    run = config.model_copy(update={"model": config.model.model_copy(update={"gru_units": 0})})
    assert from_yaml(to_yaml(run)) == run


def test_a_family_without_posteriors_ends_the_normalization_of_a_preset(tmp_path: Path) -> None:
    normed = tmp_path / "normed.yaml"
    normed.write_text("extends: quickstart\nmodel: {posterior_norm: local}\n")
    gim = ["model.family=gim", "objective.kld_weight=0"]
    resolved = load_config(str(normed), gim)
    assert resolved.config.model.posterior_norm == "none"
    assert resolved.sources["model.posterior_norm"] == "override"
    with pytest.raises(ConfigError) as refusal:
        load_config(str(normed), [*gim, "model.posterior_norm=sync"])
    assert str(refusal.value) == (
        "model.posterior_norm=sync (from override) has no effect beside model.family=gim (from override), which has no "
        "posterior; set model.posterior_norm=none, or use family sim"
    )
