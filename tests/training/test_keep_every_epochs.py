"""`train.keep_every_epochs`: which checkpoints a run leaves, whatever else decides when they are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.training.cases import run_location, single_rank_trainer
from tests.training.test_resume import Killed, Mortal, assert_same_runs
from vgim.config import ResolvedConfig, RunConfig
from vgim.runs.checkpoint import complete_checkpoints
from vgim.training import greedy
from vgim.training.validate import Validation

Maker = Callable[..., ResolvedConfig]
FEW = ("train.keep_last=1", "train.keep_best=0", "model.depth=1", "train.validate_every_epochs=99")


def kept(config: RunConfig) -> list[tuple[int, int]]:
    """Epoch and step in the epoch of a run's checkpoints."""
    return [(c.state.epoch, c.state.step_in_epoch) for c in complete_checkpoints(run_location(config))]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["train.epochs=5"], [(2, 0), (4, 0), (5, 0)]),
        (["train.epochs=5", "train.keep_last=2"], [(2, 0), (4, 0), (5, 0)]),
        (["train.epochs=4", "train.checkpoint_every_steps=7"], [(2, 0), (4, 0)]),
        (["train.epochs=4", "train.max_steps=28"], [(2, 0), (2, 8)]),
        (["train.epochs=5", "train.keep_every_epochs=0"], [(5, 0)]),
        (
            ["train.schedule=sequential", "model.depth=2", "train.module_epochs=[3, 2]"],
            [(2, 0), (4, 0), (5, 0)],
        ),
        (  # the first module ends in its second epoch, which is none of the whole ones
            ["train.schedule=sequential", "model.depth=2", "train.epochs=3", "train.max_steps=15"],
            [(3, 5)],
        ),
    ],
)
def test_ends_of_every_second_epoch_stay(
    tiny_config: Maker, settings: list[str], expected: list[tuple[int, int]]
) -> None:
    config = tiny_config(*FEW, "train.keep_every_epochs=2", *settings).config
    single_rank_trainer(config).run()
    assert kept(config) == expected


def test_the_best_stays_beside_them(tiny_config: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.5])
    monkeypatch.setattr(
        greedy, "validate", lambda *_, **__: Validation([{"module": 0, "loss": next(losses)}], 4)
    )
    settings = (*FEW, "train.validate_every_epochs=1", "train.keep_best=1", "train.epochs=4")
    config = tiny_config(*settings, "train.keep_every_epochs=3").config
    single_rank_trainer(config).run()
    assert kept(config) == [(2, 0), (3, 0), (4, 0)]


def test_a_killed_run_keeps_what_a_straight_one_keeps(tiny_config: Maker) -> None:
    every = (*FEW, "train.keep_every_epochs=1", "train.epochs=3", "train.checkpoint_every_steps=7")
    straight = tiny_config("storage.name=straight", *every).config
    killed = tiny_config("storage.name=killed", *every).config
    single_rank_trainer(straight).run()
    with pytest.raises(Killed):
        single_rank_trainer(killed, Mortal).run()
    assert kept(killed) == [(1, 0), (1, 4)]  # step 14, the newest
    single_rank_trainer(killed).run()
    assert kept(killed) == kept(straight) == [(1, 0), (2, 0), (3, 0)]
    assert_same_runs(killed, straight)


def test_another_value_holds_from_the_next_checkpoint_on(tiny_config: Maker) -> None:
    first = tiny_config(*FEW, "train.keep_every_epochs=1", "train.epochs=3").config
    single_rank_trainer(first).run()
    assert kept(first) == [(1, 0), (2, 0), (3, 0)]
    longer = tiny_config(*FEW, "train.keep_every_epochs=2", "train.epochs=5").config
    single_rank_trainer(longer).run()
    assert kept(longer) == [(2, 0), (4, 0), (5, 0)]
