"""Runs under `objective.target_rate`: what a step weighs, what records and checkpoints hold, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.training.cases import last_checkpoint, records, run_location, single_rank_trainer
from vgim.config import ResolvedConfig
from vgim.errors import ConfigError
from vgim.model.target_rate import next_weight

Maker = Callable[..., ResolvedConfig]
WARM_UP = 6
SETTINGS = (
    "objective.target_rate=0.5",
    f"objective.kld_warmup_steps={WARM_UP}",
    "objective.kl_reduction=frame",
)


def test_after_the_warm_up_each_modules_weight_follows_its_kl(tiny_config: Maker) -> None:
    config = tiny_config(*SETTINGS, "train.accumulate=2", "train.epochs=4").config
    single_rank_trainer(config).run()
    objective, written = config.objective, records(run_location(config), "train")
    assert all("kld_weight" not in record for record in written)  # each module has its own
    for m in range(3):
        of_module = [record["modules"][m] for record in written]
        weights = [module["kld_weight"] for module in of_module]
        assert weights[: WARM_UP + 1] == pytest.approx(
            [objective.kld_weight * min(step, WARM_UP) / WARM_UP for step in range(WARM_UP + 1)]
        )
        for module, weight, after in zip(
            of_module[WARM_UP:], weights[WARM_UP:], weights[WARM_UP + 1 :], strict=False
        ):
            assert after == pytest.approx(next_weight(weight, module["kl_per_frame"], objective), rel=1e-5)
            expected = module["nce"] + weight * module["kl_per_frame"]
            assert module["loss"] == pytest.approx(expected, rel=1e-5)
        saved = last_checkpoint(config).state.kl_weights[m]
        last = of_module[-1]
        assert saved == pytest.approx(
            next_weight(last["kld_weight"], last["kl_per_frame"], objective), rel=1e-5
        )
        assert saved != pytest.approx(objective.kld_weight, rel=0.01)
    assert {record["modules"][3]["kld_weight"] for record in written} == {None}  # the GRU has no posterior


def test_a_validation_counts_the_kl_with_the_weight_of_the_start(tiny_config: Maker) -> None:
    config = tiny_config(*SETTINGS).config
    single_rank_trainer(config).run()
    for module in records(run_location(config), "validation")[-1]["modules"]:
        expected = module["nce"] + config.objective.kld_weight * module["kl_per_frame"]
        assert module["loss"] == pytest.approx(expected, rel=1e-5)


def test_one_module_after_the_other_has_its_weight_from_its_own_warm_up_on(tiny_config: Maker) -> None:
    config = tiny_config(*SETTINGS, "train.schedule=sequential", "train.epochs=1").config
    single_rank_trainer(config).run()
    written = records(run_location(config), "train")
    for m in range(3):
        weights = [r["modules"][0]["kld_weight"] for r in written if r["modules"][0]["module"] == m]
        assert weights[0] == 0
        assert weights[WARM_UP] == pytest.approx(config.objective.kld_weight)
        assert weights[-1] != pytest.approx(config.objective.kld_weight, rel=0.01)


def test_a_deeper_run_goes_on_with_the_weights_of_the_shallower_one(tiny_config: Maker) -> None:
    every = (*SETTINGS, "train.schedule=sequential", "train.epochs=1")
    shallow = tiny_config("storage.name=shallow", "model.depth=1", *every).config
    deep, straight = (
        tiny_config(f"storage.name={name}", "model.depth=2", *every).config for name in ("deep", "2")
    )
    single_rank_trainer(shallow).run()
    single_rank_trainer(deep, resume_from=run_location(shallow).uri).run()
    single_rank_trainer(straight).run()
    assert len(last_checkpoint(shallow).state.kl_weights) == 1
    assert last_checkpoint(deep).state.kl_weights == last_checkpoint(straight).state.kl_weights
    assert len(last_checkpoint(deep).state.kl_weights) == 2


def test_a_run_without_a_target_rate_has_one_weight_and_no_state(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=2").config
    single_rank_trainer(config).run()
    assert last_checkpoint(config).state.kl_weights == ()
    for record in records(run_location(config), "train"):
        assert "kld_weight" in record
        assert all("kld_weight" not in module for module in record["modules"])


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (
            ["objective.kld_weight=0"],
            "starts at objective.kld_weight=0 and would stay there; set kld_weight above 0",
        ),
        (
            ["model.family=gim"],
            "objective.target_rate=5 and objective.kld_weight=0.001 have no effect for model.family=gim, which has no "
            "posterior; set objective.target_rate=0 objective.kld_weight=0, or use family sim",
        ),
    ],
)
def test_a_target_rate_that_could_do_nothing_is_refused(
    tiny_config: Maker, overrides: list[str], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        tiny_config("objective.target_rate=5", *overrides)
