"""Wishes of ranks over gloo: all ranks learn of one rank's wish at the same step boundary."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from tests.gloo_world import leave_world
from vgim.model.rank_group import ALONE, RankGroup
from vgim.training.agreement import Agreement, Wishes

RANKS, BOUNDARIES, ASKED_AT = 2, 8, 3
STEPS = 5_000  # more than it takes


def wishes_of(rank: int, boundary: int) -> Wishes:
    """Rank 1 learns of a signal; rank 0 wants a checkpoint, writes one at every boundary, and has read a source."""
    if rank == 1:
        return Wishes(stop_signal=15 if boundary == ASKED_AT else 0)
    return Wishes(checkpoint=boundary == 5, written_step=boundary, source_step=2)


def train_until_stopped(group: RankGroup, every_s: float) -> tuple[int | None, int]:
    """Steps of unequal length, until a stop that rank 0 asks for once: the step, and that of the checkpoint."""
    agreement, checkpoint_at = Agreement(group, every_s), 0
    for step in range(1, STEPS):
        group.all_reduce_mean(torch.ones(1000))  # in the same order on all ranks, as gradients are
        if group.rank:
            time.sleep(0.001)
        mine = group.rank == 0
        agreed = agreement.exchange(
            Wishes(
                stop_signal=2 if mine and step == 2 * ASKED_AT else 0, checkpoint=mine and step == ASKED_AT
            )
        )
        checkpoint_at = checkpoint_at or (step if agreed.checkpoint else 0)
        if agreed.stop_signal:
            agreement.close()
            return step, checkpoint_at
    return None, checkpoint_at


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", meet, timedelta(minutes=10), rank=rank, world_size=RANKS)
    group = RankGroup.of_world()
    agreement = Agreement(group, every_s=0)
    results: dict[str, Any] = {
        "agreed": [agreement.exchange(wishes_of(rank, boundary)) for boundary in range(BOUNDARIES)],
        "last": agreement.close(),
        "at every boundary": train_until_stopped(group, every_s=0),
        "now and then": train_until_stopped(group, every_s=0.05),
    }
    torch.save(results, f"{folder}/rank{rank}.pt")
    leave_world()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("agreement")
    multiprocessing.spawn(one_rank, (str(folder),), nprocs=RANKS)
    return [torch.load(Path(folder, f"rank{rank}.pt"), weights_only=False) for rank in range(RANKS)]


def test_all_ranks_get_the_maximum_of_the_boundary_before(ranks: list[dict[str, Any]]) -> None:
    expected = [Wishes()]
    for boundary in range(BOUNDARIES):
        expected.append(Wishes(15 if boundary == ASKED_AT else 0, boundary == 5, boundary, 2))
    for results in ranks:
        assert results["agreed"] == expected[:-1]
        assert results["last"] == expected[-1]
        assert all(type(wishes.checkpoint) is bool for wishes in results["agreed"])


def test_all_ranks_stop_at_the_same_step_although_one_asks(ranks: list[dict[str, Any]]) -> None:
    assert [results["at every boundary"] for results in ranks] == [(2 * ASKED_AT + 1, ASKED_AT + 1)] * RANKS


def test_a_wish_between_two_exchanges_is_passed_on_with_the_next(ranks: list[dict[str, Any]]) -> None:
    (stopped, checkpoint), other = (results["now and then"] for results in ranks)
    assert (stopped, checkpoint) == other
    assert stopped is not None
    assert ASKED_AT < checkpoint <= stopped


def test_one_rank_gets_its_wishes_at_once_without_torch_distributed() -> None:
    agreement = Agreement(ALONE)
    wishes = Wishes(stop_signal=1, written_step=7)
    assert agreement.exchange(wishes) == wishes
    assert agreement.exchange(Wishes()) == Wishes()
    assert agreement.close() == Wishes()
