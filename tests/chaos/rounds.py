"""Which attacks are made, in which order: rounds over all kinds, each in a new order, divided among processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from tests.chaos.attacks.kind import Draw, Kind


def divide(kinds: Sequence[Kind], jobs: int) -> list[list[Kind]]:
    """The kinds of each process, such that all have about the same to do; a kind's template is then made once."""
    shares: list[list[Kind]] = [[] for _ in range(jobs)]
    loads = [0.0] * jobs
    for kind in sorted(kinds, key=lambda kind: -kind.cost * kind.repeats):
        least = loads.index(min(loads))
        shares[least].append(kind)
        loads[least] += kind.cost * kind.repeats
    return shares


def draws(kinds: Sequence[Kind], seed: int) -> Iterator[tuple[int, Kind, Draw]]:
    """Attacks without end, each with the number of its round.

    The first round has one attack of every kind; later ones have as many as a kind repeats.
    """
    numbers = dict.fromkeys((kind.name for kind in kinds), 0)
    round_number = 0
    while True:
        chosen = [kind for kind in kinds for _ in range(kind.repeats if round_number else 1)]
        Random(f"{seed}/{round_number}").shuffle(chosen)
        for kind in chosen:
            yield round_number, kind, Draw(seed, kind.name, numbers[kind.name])
            numbers[kind.name] += 1
        round_number += 1
