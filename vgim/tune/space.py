"""The search space of a sweep: a list of values, or a range to draw from, for each config key."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vgim.config.keys import flatten
from vgim.config.yaml_text import to_flow

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"^\s*(log|uniform|int)\s+({_NUMBER})\s*\.\.\s*({_NUMBER})\s*$")
DIGITS = 4
"""Significant digits of a drawn value; more would only make names and tables long."""
MAX_CORNERS = 256
"""A space with more corners is checked at one end of each range at a time."""

Values = dict[str, Any]
"""Config key → value."""


@dataclass(frozen=True)
class Range:
    """`log 1e-4..1e-1`, `uniform 0..0.5` or `int 2..8`, including both ends."""

    kind: Literal["log", "uniform", "int"]
    low: float
    high: float

    def value_at(self, fraction: float) -> float | int:
        """The value at a fraction (0 to 1) of the way from low to high, on the range's own scale."""
        if self.kind == "log":
            value = math.exp(math.log(self.low) + fraction * (math.log(self.high) - math.log(self.low)))
        elif self.kind == "uniform":
            value = self.low + fraction * (self.high - self.low)
        else:  # every integer is equally likely
            return min(int(self.high), int(self.low) + int(fraction * (self.high - self.low + 1)))
        return self.rounded(value)

    def rounded(self, value: float) -> float:
        """A value of a log or uniform range rounded to DIGITS and kept inside."""
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    def points(self, num: int) -> list[float | int]:
        """At most `num` values from low to high at equal distances; values that rounding makes equal count once."""
        if self.kind == "int":
            import numpy as np  # not at the top: most spaces are shown without it

            return [int(v) for v in np.unique(np.linspace(self.low, self.high, num).round())]
        return list(dict.fromkeys(self.value_at(i / (num - 1)) for i in range(num)))


@dataclass(frozen=True)
class SpaceAxis:
    """One config key of the space, with its values or its range."""

    key: str
    values: tuple[Any, ...] = ()
    """The listed values; empty for a range."""
    range: Range | None = None

    @property
    def is_real(self) -> bool:
        """Whether the axis is a log or uniform range, so that two draws are hardly ever equal."""
        return self.range is not None and self.range.kind != "int"

    def rounded(self, value: Any) -> Any:
        """A value of a log or uniform range rounded to DIGITS and kept inside; a value of any other axis unchanged."""
        if self.range is None or not self.is_real:
            return value
        return self.range.rounded(value)

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values to check: both ends of a range, or every listed value."""
        return self.values if self.range is None else (self.range.value_at(0.0), self.range.value_at(1.0))


def parse_space(space: Mapping[str, Any]) -> tuple[SpaceAxis, ...]:
    """The axes, in the file's order.

    Raises:
        ValueError: an entry is neither a list nor a range; the message says what to write.
    """
    return tuple(_axis(key, entry) for key, entry in flatten(space).items())


def _axis(key: str, entry: Any) -> SpaceAxis:
    shown = f"{key}={to_flow(entry)}"
    if key.partition(".")[0] in ("cluster", "storage"):
        raise ValueError(
            f"space.{key}: where trials run and lie is the same for all; set it in the base or under overrides"
        )
    if isinstance(entry, list):
        if not entry:
            raise ValueError(f"space.{shown} holds no value; list some, or leave the key out")
        texts = [to_flow(value) for value in entry]
        twice = [text for text in texts if texts.count(text) > 1]
        if twice:
            raise ValueError(f"space.{shown} holds {twice[0]} twice; give each value once")
        return SpaceAxis(key, tuple(entry))
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
    return SpaceAxis(key, range=Range(kind, low, high))  # type: ignore[arg-type]


def num_grid_points(axes: tuple[SpaceAxis, ...], num_points: int) -> int:
    """Upper bound of the number of points of `grid_points`, without making them."""
    return math.prod(len(axis.values) if axis.range is None else num_points for axis in axes)


def grid_points(axes: tuple[SpaceAxis, ...], num_points: int) -> Iterator[Values]:
    """Every combination of values; the last key changes fastest.

    Args:
        num_points: values on each range.
    """
    columns = [axis.values if axis.range is None else axis.range.points(num_points) for axis in axes]
    for values in itertools.product(*columns):
        yield dict(zip((axis.key for axis in axes), values, strict=True))


def random_points(axes: tuple[SpaceAxis, ...], num: int, seed: int) -> Iterator[Values]:
    """Independent draws from the space; a larger `num` only adds draws after the same first ones."""
    from numpy.random import default_rng

    generator = default_rng(seed)
    for _ in range(num):
        values: Values = {}
        for axis in axes:
            fraction = float(generator.random())
            if axis.range is None:
                values[axis.key] = axis.values[int(fraction * len(axis.values))]
            else:
                values[axis.key] = axis.range.value_at(fraction)
        yield values


def corners(axes: tuple[SpaceAxis, ...]) -> list[Values]:
    """Combinations of ends, by which a space is checked; one end at a time if there are more than MAX_CORNERS."""
    if math.prod(len(axis.ends) for axis in axes) <= MAX_CORNERS:
        return [
            dict(zip((axis.key for axis in axes), values, strict=True))
            for values in itertools.product(*(axis.ends for axis in axes))
        ]
    first = {axis.key: axis.ends[0] for axis in axes}
    return [first, *({**first, axis.key: end} for axis in axes for end in axis.ends[1:])]
