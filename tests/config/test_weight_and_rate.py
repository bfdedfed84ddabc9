"""A KL weight or a target rate: what is set later counts, and the rate's unit."""

from __future__ import annotations

from pathlib import Path

import pytest

from vgim.config import load_config
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


def test_a_rate_a_frame_under_a_preset_that_counts_channels_is_refused(preset: str) -> None:
    with pytest.raises(
        ConfigError, match=r"target_rate=15 is more than 10 nats .* set target_rate_unit=frame"
    ):
        load_config(preset, ["objective.target_rate_unit=channel"])
