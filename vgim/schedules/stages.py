"""Stages of a pipeline: which modules each trains, with which ranks, and the stages that finish a step soonest.

A step has as many micro-batches as virtual ranks times `train.accumulate`. A stage of r ranks divides the virtual ranks
among them, so that its step takes the cost of its modules times the most virtual ranks that one of its ranks has.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

Placement = tuple[tuple[int, ...], ...]
"""Modules of each stage, from the stage that reads audio on."""


@dataclass(frozen=True)
class Stage:
    """Consecutive modules, and the ranks that train them together."""

    modules: tuple[int, ...]
    ranks: tuple[int, ...]


def make_stages(placement: Placement, replicas: Sequence[int]) -> tuple[Stage, ...]:
    """Stages with their ranks, from the stage that reads audio on.

    The last stage has the first ranks. Rank 0 writes records and checkpoints: when it is at a step, every stage before
    has done it, and waits for nobody.

    Args:
        replicas: ranks of each stage.
    """
    first_rank = sum(replicas)
    stages = []
    for modules, size in zip(placement, replicas, strict=True):
        first_rank -= size
        stages.append(Stage(tuple(modules), tuple(range(first_rank, first_rank + size))))
    return tuple(stages)


def is_in_order(placement: Placement, num_modules: int) -> bool:
    """Whether a placement has every module once, in ascending order, and no empty stage."""
    return all(placement) and [m for modules in placement for m in modules] == list(range(num_modules))


def balanced(
    costs: Sequence[float],
    num_ranks: int,
    num_virtual: int,
    *,
    placement: Placement | None = None,
    replicas: Sequence[int] = (),
) -> tuple[Placement, tuple[int, ...]]:
    """The placement and the replicas of each stage for which the slowest stage's step is shortest.

    Of placements that are as fast, the one with the fewest stages is taken, and then the one that needs the fewest
    ranks; the ranks that are left join the slowest stages.

    Args:
        costs: seconds of each module on one micro-batch.
        num_ranks: ranks to place.
        num_virtual: virtual ranks, which are the most ranks of a stage.
        placement: the modules of each stage, if they are given.
        replicas: the ranks of each stage, if they are given.

    Raises:
        ValueError: no placement of at least two stages uses all ranks.
    """
    if placement is None:
        placement = (
            _placement_of(costs, replicas, num_virtual)
            if replicas
            else _best_placement(costs, num_ranks, num_virtual)
        )
    sizes = tuple(replicas) or _sizes(
        [sum(costs[m] for m in modules) for modules in placement], num_ranks, num_virtual
    )
    if sum(sizes) != num_ranks:
        raise ValueError("no placement of at least two stages uses all ranks")
    return placement, sizes


def _sizes(stage_costs: Sequence[float], num_ranks: int, num_virtual: int) -> tuple[int, ...]:
    """Ranks of each stage: one after the other goes to the slowest stage that can take it."""
    sizes = [1] * len(stage_costs)
    for _ in range(num_ranks - len(sizes)):
        open_stages = [s for s, size in enumerate(sizes) if size < num_virtual]
        if not open_stages:
            break
        slowest = max(open_stages, key=lambda s: (stage_costs[s] * -(-num_virtual // sizes[s]), -s))
        sizes[slowest] += 1
    return tuple(sizes)


def _placement_of(costs: Sequence[float], replicas: Sequence[int], num_virtual: int) -> Placement:
    """The placement on stages of given sizes whose slowest stage is fastest."""
    num, before = len(costs), [0.0, *accumulate(costs)]
    if len(replicas) > num:
        raise ValueError("there are more stages than modules")
    # slowest[i], ends[i]: for the stages so far on the first i modules
    slowest: list[float] = [0.0] + [math.inf] * num
    ends: list[tuple[int, ...]] = [()] * (num + 1)
    for size in replicas:
        passes = -(-num_virtual // size)
        choices = [
            min(
                ((max(slowest[j], (before[i] - before[j]) * passes), (*ends[j], i)) for j in range(i)),
                default=(math.inf, ()),
            )
            for i in range(num + 1)
        ]
        slowest, ends = [value for value, _ in choices], [stops for _, stops in choices]
    return _between(ends[num])


def _best_placement(costs: Sequence[float], num_ranks: int, num_virtual: int) -> Placement:
    """The placement whose slowest stage is fastest, if its stages have as many ranks as they need."""
    num, before = len(costs), [0.0, *accumulate(costs)]
    bounds = sorted(
        {
            (before[i] - before[j]) * passes
            for i in range(num + 1)
            for j in range(i)
            for passes in range(1, num_virtual + 1)
        }
    )

    def within(bound: float) -> Placement | None:
        """The placement of fewest stages, at least two, none of which takes longer than `bound`."""
        # ranks[i], ends[i]: the fewest ranks that a number of stages needs for the first i modules
        ranks: list[float] = [0.0] + [math.inf] * num
        ends: list[tuple[int, ...]] = [()] * (num + 1)
        for num_stages in range(1, min(num, num_ranks) + 1):
            choices = [
                min(
                    (
                        (ranks[j] + _ranks_within(before[i] - before[j], bound, num_virtual), (*ends[j], i))
                        for j in range(i)
                    ),
                    default=(math.inf, ()),
                )
                for i in range(num + 1)
            ]
            ranks, ends = [value for value, _ in choices], [stops for _, stops in choices]
            if num_stages > 1 and ranks[num] <= num_ranks <= num_stages * num_virtual:
                return _between(ends[num])
        return None

    first = bisect_left(bounds, True, key=lambda bound: within(bound) is not None)
    found = within(bounds[first]) if first < len(bounds) else None
    if found is None:
        raise ValueError("no placement of at least two stages uses all ranks")
    return found


def _ranks_within(cost: float, bound: float, num_virtual: int) -> float:
    """Fewest ranks with which a stage that takes `cost` a micro-batch is done within `bound`; infinity for none."""
    most = math.floor(bound / cost * (1 + 1e-12)) if cost > 0 else num_virtual
    return math.inf if most < 1 else -(-num_virtual // most)


def _between(ends: Sequence[int]) -> Placement:
    return tuple(tuple(range(begin, end)) for begin, end in zip([0, *ends], ends, strict=False))
