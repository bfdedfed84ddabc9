"""Runs whose stages have ranks of their own take the steps of runs in which every rank trains all modules."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runs.metric_cases import histograms
from tests.schedules.test_stages import placements
from tests.training.cases import assert_same, last_checkpoint, records, run_location
from tests.training.stages.worlds import ending, train_in_world
from vgim.config import ResolvedConfig, RunConfig
from vgim.runs.weights import OF_RANKS

Maker = Callable[..., ResolvedConfig]
STAGED = ("train.schedule=parallel",)
STEPS = "train.max_steps=12"
CLOSE: dict[str, float] = {"rtol": 1e-5, "atol": 1e-6}


def histograms_of(config: RunConfig) -> dict[str, list[tuple[int, Any]]]:
    return histograms(run_location(config).local_path)


CASES: dict[str, tuple[str, ...]] = {
    "sim": (),
    "gim": ("model.family=gim", "objective.kld_weight=0"),
    "local": ("model.batch_norm=local",),
    "none": ("model.batch_norm=none", "objective.kl_reduction=frame"),
    "early": (
        "train.early_stop_validations=1",
        "train.epochs=20",
        "train.max_steps=0",
        "optim.learning_rate=0.03",
    ),
    "accumulated": ("train.accumulate=2", "optim.clip_norm=0.05"),
    "directions": ("model.gru_bidirectional=true",),
    "normed": ("model.posterior_norm=local",),
    "augmented": ("data.augment.noise_snr_db=10", "model.posterior_norm=local"),
    "held": ("objective.target_rate=0.5", "objective.kld_warmup_steps=1"),
}
"""Settings that change what a step computes."""


def configs(
    make: Maker, folder: Path, *more: str, names: tuple[str, ...] = tuple(CASES)
) -> dict[str, RunConfig]:
    folder.mkdir(parents=True, exist_ok=True)
    return {
        name: make(
            folder, f"storage.name={name}", STEPS, "train.batch_size=2", *CASES.get(name, ()), *more
        ).config
        for name in names
    }


@pytest.fixture(scope="module")
def joint(tiny_config_in: Maker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    """The cases under schedule joint, on one rank that does the work of two virtual ranks."""
    folder = tmp_path_factory.mktemp("joint")
    made = configs(tiny_config_in, folder, "train.virtual_ranks=2")
    train_in_world(folder / "world", 1, made)
    return made


@pytest.fixture(scope="module")
def staged(tiny_config_in: Maker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    """The cases in two stages of one rank each."""
    folder = tmp_path_factory.mktemp("staged")
    made = configs(tiny_config_in, folder, *STAGED, "cluster.workers=2", "train.placement=[[0, 1], [2, 3]]")
    train_in_world(folder / "world", 2, made)
    assert ending(folder / "world", 0, "sim") == ending(folder / "world", 1, "sim")
    return made


@pytest.mark.parametrize("case", CASES)
def test_two_stages_take_the_steps_of_one_rank_that_trains_all_modules_to_the_bit(
    joint: dict[str, RunConfig], staged: dict[str, RunConfig], case: str
) -> None:
    one, other = last_checkpoint(joint[case]), last_checkpoint(staged[case])
    assert one.state.step == other.state.step >= 10
    if case == "early":
        assert one.state.stale_validations == 1
        assert one.state.step < 200  # of twenty epochs
    assert_same(one.weights(), other.weights())
    assert_same(one.weights_for_readers(), other.weights_for_readers())
    assert_same(one.optimizer(), other.optimizer())
    assert one.state.kl_weights == other.state.kl_weights
    assert one.state.validation_loss == pytest.approx(other.state.validation_loss, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_stages_write_the_records_of_one_rank_that_trains_all_modules(
    joint: dict[str, RunConfig], staged: dict[str, RunConfig], case: str
) -> None:
    for kind in ("train", "validation"):
        one, other = (records(run_location(runs[case]), kind) for runs in (joint, staged))
        assert [r["step"] for r in one] == [r["step"] for r in other]
        assert one
        for a, b in zip(one, other, strict=True):
            assert [m["module"] for m in b["modules"]] == [0, 1, 2, 3]
            for mine, theirs in zip(a["modules"], b["modules"], strict=True):
                numbers, expected = ({k: v for k, v in m.items() if v is not None} for m in (theirs, mine))
                assert numbers == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_histograms_of_stages_equal_those_of_one_rank_that_trains_all_modules(
    joint: dict[str, RunConfig], staged: dict[str, RunConfig], case: str
) -> None:
    one, other = histograms_of(joint[case]), histograms_of(staged[case])
    assert len(one) == (4 if case == "gim" else 7)  # means of four modules, and deviations of three
    validated = [r["step"] for r in records(run_location(joint[case]), "validation")]
    assert all([step for step, _ in shown] == validated for shown in one.values())
    assert list(other) == list(one)
    assert other == one


EXCHANGING = ("model.batch_norm=sync", "objective.negatives=global")
"""With these, ranks exchange tensors within a micro-batch."""
CASES_OF_TWO = {"sync": EXCHANGING, "many": ("train.accumulate=2", "model.batch_norm=local")}


@pytest.fixture(scope="module")
def two_joint(tiny_config_in: Maker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    """Cases under schedule joint on two ranks."""
    folder = tmp_path_factory.mktemp("two-joint")
    made = {
        name: tiny_config_in(
            folder, f"storage.name={name}", STEPS, "train.batch_size=2", "cluster.workers=2", *overrides
        ).config
        for name, overrides in CASES_OF_TWO.items()
    }
    train_in_world(folder / "world", 2, made)
    return made


@pytest.fixture(scope="module")
def four_ranks(tiny_config_in: Maker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunConfig]:
    """The same cases in two stages of two ranks, and one in stages of unequal sizes."""
    folder = tmp_path_factory.mktemp("four-ranks")
    common = (*STAGED, STEPS, "train.batch_size=2", "cluster.workers=4", "train.virtual_ranks=2")
    made = {
        name: tiny_config_in(
            folder, f"storage.name={name}", *common, "train.replicas=[2,2]", *overrides
        ).config
        for name, overrides in CASES_OF_TWO.items()
    }
    made["unequal"] = tiny_config_in(
        folder,
        "storage.name=unequal",
        *common,
        "train.placement=[[0],[1],[2,3]]",
        "train.replicas=[2,1,1]",
        "train.transfer_buffers=1",
        *CASES_OF_TWO["many"],
    ).config
    train_in_world(folder / "world", 4, made)
    return made


@pytest.mark.parametrize("case", CASES_OF_TWO)
def test_stages_of_two_ranks_take_the_steps_of_two_ranks_to_the_bit(
    two_joint: dict[str, RunConfig], four_ranks: dict[str, RunConfig], case: str
) -> None:
    one, other = last_checkpoint(two_joint[case]), last_checkpoint(four_ranks[case])
    assert_same(one.weights(), other.weights())
    assert_same(one.optimizer(), other.optimizer())
    assert any(name.endswith(OF_RANKS) for name in other.optimizer())
    assert histograms_of(two_joint[case]) == histograms_of(four_ranks[case])
    assert one.state.validation_loss == pytest.approx(other.state.validation_loss, rel=1e-12)


def test_stages_of_unequal_sizes_take_the_same_steps(
    two_joint: dict[str, RunConfig], four_ranks: dict[str, RunConfig]
) -> None:
    one, other = last_checkpoint(two_joint["many"]), last_checkpoint(four_ranks["unequal"])
    expected, found = one.weights(), other.weights()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, **CLOSE, msg=name)


def test_a_run_goes_on_under_another_schedule_placement_and_number_of_ranks_as_if_nothing_had_changed(
    joint: dict[str, RunConfig], tiny_config_in: Maker, tmp_path: Path
) -> None:
    def part(steps: int, *overrides: str) -> RunConfig:
        name = "storage.name=held"
        common = ("train.batch_size=2", "train.virtual_ranks=2", *CASES["held"], f"train.max_steps={steps}")
        return tiny_config_in(tmp_path, name, *common, *overrides).config

    three = ("cluster.workers=3", "train.placement=[[0],[1],[2,3]]", "train.transfer_buffers=3")
    two = ("cluster.workers=2", "train.replicas=[1,1]")  # balanced by what the modules cost here
    train_in_world(tmp_path / "first", 1, {"held": part(3)})
    train_in_world(tmp_path / "second", 3, {"held": part(5, *STAGED, *three)})
    train_in_world(tmp_path / "third", 2, {"held": part(8, *STAGED, *two)})
    train_in_world(tmp_path / "fourth", 1, {"held": part(12)})
    one, other = last_checkpoint(joint["held"]), last_checkpoint(part(12))
    assert_same(one.weights(), other.weights())
    assert_same(one.optimizer(), other.optimizer())
    assert one.state.kl_weights == other.state.kl_weights
    messages = [r["message"] for r in records(run_location(part(12)), "event")]
    assert "3 stages: module 0 on rank 2; module 1 on rank 1; modules 2 and 3 on rank 0" in messages
    assert not any("will differ" in message for message in messages)


def test_a_stop_holds_at_one_step_of_all_stages_and_the_run_goes_on_from_it(
    staged: dict[str, RunConfig], tiny_config_in: Maker, tmp_path: Path
) -> None:
    made = configs(
        tiny_config_in,
        tmp_path,
        *STAGED,
        "cluster.workers=2",
        "train.placement=[[0, 1], [2, 3]]",
        names=("local",),
    )
    train_in_world(tmp_path / "stopped", 2, made, stop_at=2)
    endings = {ending(tmp_path / "stopped", rank, "local") for rank in range(2)}
    assert len(endings) == 1
    assert endings.pop().startswith("stopped by SIGTERM at step ")
    stopped_at = last_checkpoint(made["local"]).state.step
    assert 2 <= stopped_at < 12
    train_in_world(tmp_path / "again", 2, made)
    one, other = last_checkpoint(staged["local"]), last_checkpoint(made["local"])
    assert_same(one.weights(), other.weights())
    assert_same(one.optimizer(), other.optimizer())
    assert histograms_of(made["local"]) == histograms_of(staged["local"])


def test_every_placement_on_four_ranks_takes_the_same_steps(tiny_config_in: Maker, tmp_path: Path) -> None:
    common = ("train.batch_size=2", "train.max_steps=3", "train.virtual_ranks=2", "model.batch_norm=local")
    alone = tiny_config_in(tmp_path, "storage.name=alone", *common).config
    placed = {}
    for placement in placements(4):
        for replicas in product((1, 2), repeat=len(placement)):
            if sum(replicas) == 4:
                name = f"placed-{len(placed)}"
                keys = {"placement": [list(modules) for modules in placement], "replicas": list(replicas)}
                where = [f"train.{key}={json.dumps(value)}" for key, value in keys.items()]
                placed[name] = tiny_config_in(
                    tmp_path, f"storage.name={name}", *common, *STAGED, "cluster.workers=4", *where
                ).config
    assert len(placed) == 13
    train_in_world(tmp_path / "one", 1, {"alone": alone})
    train_in_world(tmp_path / "four", 4, placed)
    expected = last_checkpoint(alone).weights()
    for name, config in placed.items():
        found = last_checkpoint(config).weights()
        assert expected.keys() == found.keys()
        for key, tensor in expected.items():
            torch.testing.assert_close(
                found[key], tensor, **CLOSE, msg=f"{key} in {config.train.placement} {name}"
            )


def test_rounded_latents_change_only_the_modules_behind_them_and_these_little(
    joint: dict[str, RunConfig], tiny_config_in: Maker, tmp_path: Path
) -> None:
    made = configs(
        tiny_config_in,
        tmp_path,
        *STAGED,
        *("cluster.workers=2", "train.placement=[[0, 1], [2, 3]]", "train.transfer_dtype=bf16"),
        names=("sim",),
    )
    train_in_world(tmp_path / "world", 2, made)
    one, other = last_checkpoint(joint["sim"]).weights(), last_checkpoint(made["sim"]).weights()
    before = [name for name in one if name.startswith(("greedy.0.", "greedy.1."))]
    assert_same({name: one[name] for name in before}, {name: other[name] for name in before})
    behind = [name for name in one if name.startswith("greedy.2.")]
    assert any(not torch.equal(one[name], other[name]) for name in behind)
    for name in behind:
        assert (one[name] - other[name]).abs().max() < 0.02, name
