"""A run that trains one module behind those of another run: what it trains, follows, keeps, and goes on with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.damage import delete, flip
from tests.training.attached_cases import (
    Maker,
    appears_and_is_read,
    attached,
    hide_newest,
    quick_looks,  # noqa: F401 (a fixture)
    source_run,
)
from tests.training.cases import (
    assert_same,
    at_step,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
)
from tests.training.test_resume import Killed, Mortal, assert_same_runs
from tests.waiting import wait_until
from vgim import load_encoder
from vgim.config import RunConfig
from vgim.errors import CheckpointError
from vgim.model.stack import build_encoder
from vgim.runs.checkpoint import checkpoint_location, complete_checkpoints
from vgim.training.trainer import train

LOWER = ("greedy.0.", "greedy.1.")


def lower(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights.items() if name.startswith(LOWER)}


def messages(config: RunConfig) -> list[str]:
    return [record["message"] for record in records(run_location(config), "event")]


def test_an_attached_run_trains_the_module_behind_the_sources_newest_checkpoint(tiny_config: Maker) -> None:
    source = source_run(tiny_config)
    uri = run_location(source).uri
    resolved = tiny_config("storage.name=attached", f"attach.run={uri}", "train.max_steps=8")
    assert train(resolved) == 0
    config = resolved.config
    found = last_checkpoint(config)
    own = found.config()
    assert (own.attach.run, own.model.depth, own.trained_modules) == (uri, 3, (2,))
    assert (found.state.step, found.state.source_step) == (8, 6)
    assert_same(lower(found.weights()), last_checkpoint(source).weights())
    first = build_encoder(own.model, own.objective, own.train.seed).state_dict()
    assert not torch.equal(found.weights()["greedy.2.nce.weight"], first["greedy.2.nce.weight"])
    assert all(name.startswith("greedy.2.") for name in found.optimizer())
    for record in records(run_location(config), "train", "validation"):
        assert [module["module"] for module in record["modules"]] == [2]
    assert any(
        f"module 2 trains behind modules 0 and 1 of step 6 of {uri}" in text for text in messages(config)
    )
    encoder = load_encoder(run_location(config).uri)
    assert encoder.num_modules == 3
    assert encoder(torch.zeros(1, 5_120)).shape[0] == 1


@pytest.mark.usefixtures("quick_looks")
def test_a_newer_checkpoint_of_the_source_replaces_its_modules_between_two_steps(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_run(tiny_config)
    appear = hide_newest(source)
    unchanged = attached(tiny_config, source, "unchanged")
    single_rank_trainer(unchanged).run()
    followed = attached(tiny_config, source, "followed")
    rank = single_rank_trainer(followed)
    at_step(monkeypatch, 4, lambda: appears_and_is_read(rank, appear))
    rank.run()
    written = records(run_location(followed), "train")
    assert [record["source_step"] for record in written] == [3] * 4 + [6] * 4
    assert [record["source_behind_steps"] for record in written][3:] == [3, 0, 0, 0, 0]
    assert all(record["source_age_s"] >= 0 for record in written[4:])
    losses, before = (
        [record["modules"][0]["nce"] for record in found]
        for found in (written, records(run_location(unchanged), "train"))
    )
    assert losses[:4] == before[:4]
    assert all(one != other for one, other in zip(losses[4:], before[4:], strict=True))
    assert last_checkpoint(followed).state.source_step == 6
    assert_same(lower(last_checkpoint(followed).weights()), last_checkpoint(source).weights())
    said = [text for text in messages(followed) if "are now those of step 6" in text]
    assert len(said) == 1
    assert said[0].endswith("before: step 3")


@pytest.mark.parametrize("damage", [flip, delete])
@pytest.mark.usefixtures("quick_looks")
def test_a_damaged_checkpoint_of_the_source_is_not_used(
    tiny_config: Maker, damage: Callable[[Path], None]
) -> None:
    source = source_run(tiny_config)
    damage(checkpoint_location(run_location(source), 6).child("weights.safetensors").local_path)
    config = attached(tiny_config, source, "attached")
    single_rank_trainer(config).run()
    assert last_checkpoint(config).state.source_step == 3
    expected = complete_checkpoints(run_location(source))[0].weights()
    assert_same(lower(last_checkpoint(config).weights()), expected)


@pytest.mark.usefixtures("quick_looks")
def test_training_goes_on_when_the_source_is_deleted_and_says_so_once(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_run(tiny_config)
    config = attached(tiny_config, source, "attached")
    rank = single_rank_trainer(config)

    def deleted() -> None:
        shutil.rmtree(run_location(source).local_path)
        follower = rank._attachment._follower
        assert follower is not None
        wait_until(lambda: follower._trouble, "the follower misses the source")

    at_step(monkeypatch, 3, deleted)
    rank.run()
    said = [text for text in messages(config) if "no complete checkpoint any more" in text]
    assert len(said) == 1
    assert "goes on with the modules of its step 6" in said[0]
    again = tiny_config(
        "storage.name=attached", f"attach.run={run_location(source).uri}", "train.max_steps=12"
    )
    assert train(again) == 0  # with the modules of its own checkpoint
    assert last_checkpoint(config).state.step == 12
    fresh = tiny_config("storage.name=fresh", f"attach.run={run_location(source).uri}")
    with pytest.raises(CheckpointError, match="has no complete checkpoint; name the folder of a run"):
        train(fresh)


def test_a_killed_run_behind_a_finished_one_equals_a_straight_run_and_says_with_what_it_goes_on(
    tiny_config: Maker,
) -> None:
    source = source_run(tiny_config)
    settings = (
        "train.max_steps=20",
        "train.epochs=4",
        "train.checkpoint_every_steps=6",
        "train.accumulate=2",
    )
    straight = attached(tiny_config, source, "straight", *settings)
    single_rank_trainer(straight).run()
    killed = attached(tiny_config, source, "killed", *settings)
    with pytest.raises(Killed):
        single_rank_trainer(killed, Mortal).run()
    single_rank_trainer(killed).run()
    assert_same_runs(killed, straight)
    assert f"modules 0 and 1 are those of step 6 of {run_location(source).uri}" in messages(killed)


def test_a_run_that_trains_all_modules_on_behind_an_attached_one_follows_no_source(
    tiny_config: Maker,
) -> None:
    grown = attached(tiny_config, source_run(tiny_config), "grown")
    single_rank_trainer(grown).run()
    whole = tiny_config("storage.name=whole", "model.depth=3", "train.max_steps=9").config
    single_rank_trainer(whole, resume_from=run_location(grown).uri).run()
    longer = tiny_config("storage.name=whole", "model.depth=3", "train.max_steps=10").config
    single_rank_trainer(longer).run()
    assert last_checkpoint(longer).state.source_step is None
    assert not [text for text in messages(longer) if " are those of step " in text]


def test_a_chain_of_attached_runs_grows_an_encoder_module_by_module(tiny_config: Maker) -> None:
    source = source_run(tiny_config)
    before: Any = source
    for name, depth in (("third", 3), ("fourth", 4)):
        config = attached(tiny_config, before, name, "train.max_steps=2")
        assert config.model.num_modules == depth
        single_rank_trainer(config).run()
        before = config
    assert_same(lower(last_checkpoint(before).weights()), last_checkpoint(source).weights())
    assert last_checkpoint(before).state.source_step == 2
