"""How the page words a run's config: modules, crops, prediction steps."""

from __future__ import annotations

import pytest

from vgim.config import RunConfig
from vgim.config.schema import AugmentConfig, DataConfig, ModelConfig, ObjectiveConfig
from vgim.report.config_text import config_terms, modules_table


@pytest.mark.parametrize(
    ("family", "rows"),
    [
        ("gim", ["convolutions 10/5, 8/4, linear head", "convolutions 4/2, linear head", "GRU"]),
        ("cpc", ["convolutions 10/5, 8/4; convolutions 4/2, 4/2; convolutions 4/2, linear head; GRU"]),
    ],
)
def test_heads_stand_behind_their_convolutions(family: str, rows: list[str]) -> None:
    data, objective = DataConfig(shards="s"), ObjectiveConfig()
    config = RunConfig(
        data=data, objective=objective, model=ModelConfig.model_validate({"family": family, "head": "linear"})
    )
    layers = [row[1] for row in modules_table(config).rows]
    assert [row for row in layers if row in rows] == rows
    assert "linear heads" in dict(config_terms(config, None, None))["Encoder"]


def test_crops_name_the_kinds_of_augmentation_that_are_on() -> None:
    plain = DataConfig(shards="s")
    changed = DataConfig(shards="s", augment=AugmentConfig(noise_snr_db=10, mask_s=0.1))
    before, after = (dict(config_terms(RunConfig(data=d), None, None))["Crops"] for d in (plain, changed))
    assert after == f"{before}; augmentation: noise_snr_db 10, mask_s 0.1"


@pytest.mark.parametrize(
    ("steps", "depth", "shown"),
    [
        (12, 0, "InfoNCE of 12 steps ahead"),
        ((12, 12, 12, 12), 0, "InfoNCE of 12 steps ahead"),
        ((32, 8, 4, 2), 0, "InfoNCE of 32, 8, 4 and 2 steps ahead (module by module)"),
        ((32, 8, 4, 2), 2, "InfoNCE of 32 and 8 steps ahead (module by module)"),
    ],
)
def test_steps_of_each_trained_module_are_named(steps: int | tuple[int, ...], depth: int, shown: str) -> None:
    model, objective = ModelConfig(depth=depth), ObjectiveConfig(prediction_steps=steps)
    config = RunConfig(data=DataConfig(shards="s"), model=model, objective=objective)
    assert dict(config_terms(config, None, None))["Objective"].startswith(shown)


def test_layers_without_a_relu_are_named() -> None:
    model = ModelConfig(relus=(True, False, True, True, True))
    rows = modules_table(RunConfig(data=DataConfig(shards="s"), model=model)).rows
    assert rows[0][1] == "convolutions 10/5, 8/4 without ReLU, Gaussian posterior"


@pytest.mark.parametrize("family", ["sim", "gim", "cpc"])
def test_extra_modules_have_rows_of_their_own(family: str) -> None:
    model = ModelConfig.model_validate({"family": family, "extra_modules": 2, "extra_layers": 2})
    rows = modules_table(RunConfig(data=DataConfig(shards="s"), model=model)).rows
    if family == "cpc":
        assert rows[0][1].endswith("convolutions 3/1, 3/1; convolutions 3/1, 3/1; GRU")
        return
    assert len(rows) == model.num_modules == 6
    assert [row[1].split(", Gaussian")[0] for row in rows[3:]] == ["convolutions 3/1, 3/1"] * 2 + ["GRU"]
    assert {row[3] for row in rows[2:]} == {rows[2][3]}  # frames are as long as before
