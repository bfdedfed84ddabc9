"""Stages cover all modules and all ranks, and no other placement has a faster slowest stage."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.schedules.stages import Placement, Stage, balanced, is_in_order, make_stages

COSTS = st.lists(st.floats(0.01, 10), min_size=2, max_size=5)


def placements(num_modules: int) -> Iterator[Placement]:
    """All placements of at least two stages."""
    for num_cuts in range(1, num_modules):
        for cuts in combinations(range(1, num_modules), num_cuts):
            ends = [0, *cuts, num_modules]
            yield tuple(tuple(range(a, b)) for a, b in pairwise(ends))


def slowest(costs: list[float], placement: Placement, replicas: tuple[int, ...], num_virtual: int) -> float:
    return max(
        sum(costs[m] for m in modules) * -(-num_virtual // size)
        for modules, size in zip(placement, replicas, strict=True)
    )


@given(COSTS, st.integers(2, 7), st.integers(1, 5))
def test_no_other_placement_has_a_faster_slowest_stage(
    costs: list[float], num_ranks: int, num_virtual: int
) -> None:
    candidates = [
        (placement, sizes)
        for placement in placements(len(costs))
        for sizes in product(range(1, num_virtual + 1), repeat=len(placement))
        if sum(sizes) == num_ranks
    ]
    if not candidates:
        with pytest.raises(ValueError, match="no placement"):
            balanced(costs, num_ranks, num_virtual)
        return
    placement, replicas = balanced(costs, num_ranks, num_virtual)
    assert is_in_order(placement, len(costs))
    assert sum(replicas) == num_ranks
    assert max(replicas) <= num_virtual
    best = min(slowest(costs, *candidate, num_virtual) for candidate in candidates)
    assert slowest(costs, placement, replicas, num_virtual) == pytest.approx(best)


@given(COSTS, st.data())
def test_given_replicas_get_the_modules_that_balance_them(costs: list[float], data: st.DataObject) -> None:
    num_virtual = data.draw(st.integers(1, 5))
    sizes = st.lists(st.integers(1, num_virtual), min_size=2, max_size=len(costs))
    replicas = tuple(data.draw(sizes))
    placement, found = balanced(costs, sum(replicas), num_virtual, replicas=replicas)
    assert found == replicas
    best = min(
        slowest(costs, other, replicas, num_virtual)
        for other in placements(len(costs))
        if len(other) == len(replicas)
    )
    assert slowest(costs, placement, replicas, num_virtual) == pytest.approx(best)


def test_a_given_placement_gets_its_ranks_where_they_are_needed() -> None:
    placement = ((0,), (1,), (2, 3))
    assert balanced([10, 3, 2, 1], 7, 4, placement=placement) == (placement, (4, 2, 1))
    with pytest.raises(ValueError, match="uses all ranks"):
        balanced([10, 3, 2, 1], 2, 4, placement=placement)


def test_the_last_stage_has_rank_0_and_every_rank_has_one_stage() -> None:
    stages = make_stages(((0,), (1,), (2, 3)), (4, 2, 1))
    assert stages == (Stage((0,), (3, 4, 5, 6)), Stage((1,), (1, 2)), Stage((2, 3), (0,)))


def test_deep_stacks_on_many_ranks_are_placed_at_once() -> None:
    placement, replicas = balanced([5.0, *[1.0] * 31], 512, 256)
    assert sum(replicas) == 512
    assert is_in_order(placement, 32)


@pytest.mark.parametrize(
    "placement", [((0, 1), (3,)), ((1, 0), (2, 3)), ((0, 1), (), (2, 3)), ((0, 1, 2),), ((0, 1), (1, 2, 3))]
)
def test_a_placement_that_is_not_every_module_once_in_order_is_none(placement: Placement) -> None:
    assert not is_in_order(placement, 4)
