"""A KL weight or a target rate: what is set later counts, and the rate's unit."""

from __future__ import annotations

from pathlib import Path

import pytest

from vgim.config import from_yaml, load_config, to_yaml
from vgim.config.schema import RunConfig
from vgim.errors import ConfigError

RATE = "objective: {kld_weight: 0.002, target_rate: 15}\ndata: {shards: /s}\n"


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "held.yaml"
    path.write_text(RATE)
    return str(path)


def rate_and_weight(config: RunConfig) -> tuple[float, float]:
    return config.target_rate, config.kld_weight


def test_a_weight_beside_a_rate_is_where_it_starts(preset: str) -> None:
    assert rate_and_weight(load_config(preset).config) == (15, 0.002)


def test_a_weight_that_overrides_a_presets_stays_instead_of_its_rate(preset: str) -> None:
    resolved = load_config(preset, ["objective.kld_weight=0.01"])
    assert rate_and_weight(resolved.config) == (0, 0.01)
    assert resolved.sources["objective.target_rate"] == "override"


def test_a_weight_of_zero_ends_a_presets_rate(preset: str) -> None:
    assert rate_and_weight(load_config(preset, ["objective.kld_weight=0"]).config) == (0, 0)


def test_a_preset_that_extends_another_ends_its_rate_by_a_weight(preset: str, tmp_path: Path) -> None:
    weight, warmup = tmp_path / "weight.yaml", tmp_path / "warmup.yaml"
    weight.write_text("extends: held.yaml\nobjective: {kld_weight: 0.01}\n")
    warmup.write_text("extends: held.yaml\nobjective: {kld_warmup_steps: 10}\n")
    assert rate_and_weight(load_config(str(weight)).config) == (0, 0.01)
    assert rate_and_weight(load_config(str(warmup)).config) == (15, 0.002)


@pytest.mark.parametrize("rate_first", [True, False])
def test_a_weight_and_a_rate_on_one_command_line_both_count(preset: str, rate_first: bool) -> None:
    both = ["objective.target_rate=3", "objective.kld_weight=0.01"]
    assert rate_and_weight(load_config(preset, both if rate_first else both[::-1]).config) == (3, 0.01)


def test_a_rate_a_channel_grows_with_the_width(preset: str) -> None:
    a_channel = ["objective.target_rate=0.35", "objective.target_rate_unit=channel"]
    for channels in (64, 512):
        config = load_config(preset, [*a_channel, f"model.channels={channels}"]).config
        assert config.target_rate == pytest.approx(0.35 * channels)


def test_a_rate_a_channel_is_told_a_frame(preset: str) -> None:
    a_channel = ["objective.target_rate=5", "objective.target_rate_unit=channel", "model.channels=128"]
    assert load_config(preset, a_channel).config.rate_note == (
        "the KL of each module is held at objective.target_rate=5 a channel, 640 a frame "
        "(objective.target_rate_unit=channel; with frame it would be 5 a frame)"
    )
    assert load_config(preset).config.rate_note is None


@pytest.mark.parametrize(
    "overrides", [["objective.kld_weight=0.01"], ["objective.target_rate=0"], ["objective.kld_weight=0"]]
)
def test_the_unit_of_a_presets_rate_ends_with_it(overrides: list[str]) -> None:
    resolved = load_config("librispeech-sim", overrides)
    assert resolved.config.target_rate == 0
    assert resolved.config.objective.target_rate_unit == "frame"
    assert resolved.sources["objective.target_rate_unit"] == "override"


@pytest.mark.parametrize(
    "overrides",
    [
        ["objective.kld_weight=0.01"],
        ["objective.target_rate=0"],
        ["objective.target_rate=0", "objective.kld_weight=0.01"],
    ],
)
def test_a_unit_that_is_asked_for_needs_a_rate(preset: str, overrides: list[str]) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^objective\.target_rate_unit=channel \(from override\) has no effect without objective\.target_rate; "
        r"set objective\.target_rate too, or leave the unit out$",
    ):
        load_config(preset, [*overrides, "objective.target_rate_unit=channel"])
    with pytest.raises(ConfigError, match="has no effect without"):
        load_config(preset, ["objective.target_rate_unit=channel", *overrides])


def test_the_config_of_a_run_with_a_unit_and_no_rate_stays_readable() -> None:
    config = load_config("librispeech-sim").config
    objective = config.objective.model_copy(update={"target_rate": 0.0})
    run = config.model_copy(update={"objective": objective})
    assert from_yaml(to_yaml(run)) == run


def test_a_rate_a_frame_under_a_preset_that_counts_channels_is_refused(preset: str) -> None:
    with pytest.raises(
        ConfigError, match=r"target_rate=15 is more than 10 nats .* set target_rate_unit=frame"
    ):
        load_config(preset, ["objective.target_rate_unit=channel"])


@pytest.mark.parametrize("weight_first", [True, False])
def test_a_rate_beside_a_weight_keeps_the_unit_of_the_preset_in_any_order(weight_first: bool) -> None:
    both = ["objective.kld_weight=0.01", "objective.target_rate=0.5"]
    objective = load_config("librispeech-sim", both if weight_first else both[::-1]).config.objective
    assert (objective.target_rate, objective.target_rate_unit, objective.kld_weight) == (0.5, "channel", 0.01)
