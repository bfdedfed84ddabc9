"""A kind of attack, and what one attack found."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tests.chaos.arena import Arena
from tests.chaos.operations import Operation

Item = TypeVar("Item")


@dataclass(frozen=True)
class Finding:
    """What an attack was, and what is wrong with what followed."""

    attack: str
    """The command and the fault, in a line."""
    complaints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draw:
    """The choices of one attack; equal for equal seed, kind and number."""

    seed: int
    kind: str
    number: int
    """Number of the attack among those of its kind, from 0."""

    @property
    def random(self) -> Random:
        """A generator for this attack alone."""
        return Random(f"{self.seed}/{self.kind}/{self.number}")

    def spread(self, items: Sequence[Item], group: Callable[[Item], Hashable]) -> Item:
        """One of some items, such that attacks of growing numbers visit all groups before they visit one again."""
        groups: dict[Hashable, list[Item]] = {}
        for item in items:
            groups.setdefault(group(item), []).append(item)
        order = list(groups)
        Random(f"{self.seed}/{self.kind}").shuffle(order)
        members = groups[order[self.number % len(order)]]
        return self.random.choice(members)


@dataclass(frozen=True)
class Kind:
    """A kind of attack."""

    name: str
    fault: str
    """What happens, for the table in docs/reliability.md."""
    lost: str
    """What is lost, for the same table."""
    attack: Callable[[Arena, Draw], Finding]
    cost: float = 2.0
    """Seconds that an attack takes, about; attacks are divided among processes by it."""
    repeats: int = 1
    """Attacks of this kind in each round."""
    at_end: bool = False
    """Whether the kind is tried once, after the others, and only where there is time for it."""


def operation_class(operation: Operation) -> str:
    """An operation without numbers, so that the same operation on other checkpoints is of the same class."""
    path = re.sub(r"\.tmp-[0-9a-f]+|\d+", "#", operation.path)
    if "tfevents" in path:
        path = "tensorboard"
    return f"{operation.kind} {path}"
