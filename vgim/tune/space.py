"""The space of a sweep: for each config key a list of values, or a range to draw from."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vgim.config.keys import flatten
from vgim.config.text import to_flow

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"^\s*(log|uniform|int)\s+({_NUMBER})\s*\.\.\s*({_NUMBER})\s*$")
DIGITS = 4  # of a drawn value: more would only make names and tables long
MOST_CORNERS = 256

Values = dict[str, Any]
"""Config key → the value that a trial has."""


@dataclass(frozen=True)
class Range:
    """`log 1e-4..1e-1`, `uniform 0..0.5` or `int 2..8`; both ends belong to it."""

    kind: Literal["log", "uniform", "int"]
    low: float
    high: float

    def at(self, share: float) -> float | int:
        """The value at a share of the way from low to high, in the range's own scale."""
        if self.kind == "log":
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        elif self.kind == "uniform":
            value = self.low + share * (self.high - self.low)
        else:  # every integer has the same share
            return min(int(self.high), int(self.low) + int(share * (self.high - self.low + 1)))
        return float(f"{min(max(value, self.low), self.high):.{DIGITS}g}")

    def points(self, num: int) -> list[float | int]:
        """So many values from low to high at equal distances, less those that rounding makes equal."""
        if self.kind == "int":
            return [int(v) for v in np.unique(np.linspace(self.low, self.high, num).round())]
        return list(dict.fromkeys(self.at(i / (num - 1)) for i in range(num)))


@dataclass(frozen=True)
class Axis:
    """One key of the space."""

    key: str
    values: tuple[Any, ...] = ()
    """Of a list; empty for a range."""
    range: Range | None = None

    @property
    def is_real(self) -> bool:
        """Whether two draws of it hardly ever agree."""
        return self.range is not None and self.range.kind != "int"

    def rounded(self, value: Any) -> Any:
        """A value of a log or uniform range with as many digits as our own draws have; any other as it is."""
        if self.range is None or not self.is_real:
            return value
        return min(max(float(f"{value:.{DIGITS}g}"), self.range.low), self.range.high)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that show whether all are allowed: both ends of a range, all of a list."""
        return self.values if self.range is None else (self.range.at(0.0), self.range.at(1.0))


def parse_space(space: Mapping[str, Any]) -> tuple[Axis, ...]:
    """The axes in the file's order.

    Raises:
        ValueError: with what a key's entry should be.
    """
    return tuple(_axis(key, entry) for key, entry in flatten(space).items())


def _axis(key: str, entry: Any) -> Axis:
    shown = f"{key}={to_flow(entry)}"
    if key.partition(".")[0] in ("cluster", "storage"):
        raise ValueError(
            f"space.{key}: where trials run and lie is the same for all; set it in the base or overrides"
        )
    if isinstance(entry, list):
        if not entry:
            raise ValueError(f"space.{shown} holds no value; list some, or leave the key out")
        told = [to_flow(value) for value in entry]
        twice = [value for value in told if told.count(value) > 1]
        if twice:
            raise ValueError(f"space.{shown} holds {twice[0]} twice; give each value once")
        return Axis(key, tuple(entry))
    match = _RANGE.match(entry) if isinstance(entry, str) else None
    if match is None:
        raise ValueError(
            f"space.{shown} is neither a list nor a range; write [1, 2, 3], or log 1e-4..1e-1, uniform 0..1, "
            "int 2..8, and put a key with one value under overrides"
        )
    kind, low, high = match[1], float(match[2]), float(match[3])
    if not low < high:
        raise ValueError(
            f"space.{shown} ends at {high:g}, which is not above {low:g}; put the smaller end first"
        )
    if kind == "log" and low <= 0:
        raise ValueError(
            f"space.{shown} starts at {low:g}, and a log range at 0 has no beginning; start above 0"
        )
    if kind == "int" and not (low.is_integer() and high.is_integer()):
        raise ValueError(f"space.{shown} has an end that is no integer; use uniform, or whole ends")
    return Axis(key, range=Range(kind, low, high))  # type: ignore[arg-type]


def grid(axes: tuple[Axis, ...], points: int) -> Iterator[Values]:
    """Every combination, the last key changing fastest."""
    of_axis = [axis.values if axis.range is None else axis.range.points(points) for axis in axes]
    for values in itertools.product(*of_axis):
        yield dict(zip((axis.key for axis in axes), values, strict=True))


def draws(axes: tuple[Axis, ...], num: int, seed: int) -> Iterator[Values]:
    """Independent draws; the first n are the same whatever `num` is."""
    generator = np.random.default_rng(seed)
    for _ in range(num):
        values: Values = {}
        for axis in axes:
            share = float(generator.random())
            if axis.range is None:
                values[axis.key] = axis.values[int(share * len(axis.values))]
            else:
                values[axis.key] = axis.range.at(share)
        yield values


def corners(axes: tuple[Axis, ...]) -> list[Values]:
    """Combinations of ends, by which a space is checked: all, or where they are very many one end at a time."""
    if math.prod(len(axis.ends) for axis in axes) <= MOST_CORNERS:
        return [
            dict(zip((axis.key for axis in axes), values, strict=True))
            for values in itertools.product(*(axis.ends for axis in axes))
        ]
    first = {axis.key: axis.ends[0] for axis in axes}
    return [first, *({**first, axis.key: end} for axis in axes for end in axis.ends[1:])]
