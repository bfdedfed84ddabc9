"""The mesh: every virtual rank has one holder in each stage, and a rank finds its place and its sources."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.config.schema import TrainConfig
from vgim.errors import ConfigError
from vgim.model.rank_group import RankGroup
from vgim.schedules.stages import make_stages
from vgim.training.share import Share
from vgim.training.stages.mesh import StageMesh, leaves_a_choice, plan_stages


class Mesh(StageMesh):
    """A rank's view of a mesh, without process groups."""

    def __init__(self, replicas: tuple[int, ...], rank: int, num_virtual: int) -> None:
        placement = tuple((m,) for m in range(len(replicas)))
        self.stages = make_stages(placement, replicas)
        self.world, self.num_virtual = RankGroup(rank, sum(replicas)), num_virtual
        (self.number,) = (n for n, stage in enumerate(self.stages) if rank in stage.ranks)
        ranks = self.stage.ranks
        self.share = Share(RankGroup(ranks.index(rank), len(ranks)), num_virtual)


@given(st.data())
def test_a_rank_gets_its_virtual_ranks_from_the_ranks_that_hold_them_in_the_stage_before(
    data: st.DataObject,
) -> None:
    num_virtual = data.draw(st.integers(1, 6))
    replicas = tuple(data.draw(st.lists(st.integers(1, num_virtual), min_size=2, max_size=4)))
    for rank in range(sum(replicas)):
        mesh = Mesh(replicas, rank, num_virtual)
        for virtual_rank in mesh.share.virtual_ranks:
            assert mesh.holder(mesh.number, virtual_rank) == rank
        if not mesh.reads_audio:
            sources = mesh.sources(mesh.number, rank)
            before = [Mesh(replicas, source, num_virtual) for source in sources]
            assert all(other.number == mesh.number - 1 for other in before)
            for virtual_rank, other in zip(mesh.share.virtual_ranks, before, strict=True):
                assert virtual_rank in other.share.virtual_ranks


def test_rank_0_speaks_for_the_last_stage_and_the_first_rank_of_each_other_for_its_own() -> None:
    meshes = [Mesh((2, 1, 1), rank, 2) for rank in range(4)]
    assert [mesh.number for mesh in meshes] == [2, 1, 0, 0]
    assert [mesh.is_last for mesh in meshes] == [True, False, False, False]
    assert [mesh.leads for mesh in meshes] == [True, True, True, False]
    assert meshes[0].other_leaders == [2, 1]
    assert meshes[0].describe() == (
        "3 stages: module 0 on ranks 2 and 3; module 1 on rank 1; module 2 on rank 0"
    )


def test_a_config_that_says_all_leaves_nothing_to_measure() -> None:
    assert leaves_a_choice(TrainConfig(schedule="parallel"), 2)
    placed = TrainConfig(schedule="parallel", placement=((0,), (1, 2, 3)))
    assert not leaves_a_choice(placed, 2)
    assert leaves_a_choice(placed, 3)
    assert not leaves_a_choice(placed.model_copy(update={"replicas": (2, 1)}), 3)


def test_ranks_that_make_no_stages_are_refused_with_what_to_set() -> None:
    placed = TrainConfig(schedule="parallel", placement=((0,), (1,)), replicas=(1, 1))
    with pytest.raises(ConfigError, match=r"3 ranks make no stages of 2 modules .* set cluster.workers"):
        plan_stages(placed, [1.0, 1.0], 3, 2)


def test_virtual_ranks_that_exchange_tensors_get_a_rank_each_in_every_stage() -> None:
    train, costs = TrainConfig(schedule="parallel"), [1.0, 2.0, 0.5, 0.5]
    assert [len(stage.ranks) for stage in plan_stages(train, costs, 4, 2)] == [1, 2, 1]
    assert [len(stage.ranks) for stage in plan_stages(train, costs, 4, 2, exchanging=True)] == [2, 2]
