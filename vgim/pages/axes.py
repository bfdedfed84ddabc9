"""Chart axes: the position of each value, and the ticks. Positions are in units of the drawing's viewBox."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from vgim.config.yaml_text import to_flow

LOG_FROM_RATIO = 20
"""Positive values are drawn in decades if the largest is at least this many times the smallest."""
MAX_CATEGORIES = 12

Format = Callable[[float, int], str]
"""Text of a number with about so many significant digits."""
FEWEST_DIGITS, MOST_DIGITS = 6, 15
"""Significant digits of ticks: as many as tell neighbors apart."""


class Tick(NamedTuple):
    """A number or a name that is written beside an axis."""

    position: float
    text: str


class Axis(Protocol):
    """One direction of a chart."""

    def position(self, value: Any) -> float:
        """The position of a value, rounded to 0.1."""

    def ticks(self, max_ticks: int) -> tuple[Tick, ...]:
        """Ticks at round values, at most `max_ticks`."""


@dataclass(frozen=True)
class LinearAxis:
    """Numbers from `low` at `start` to `high` at `end`; a single value lies in the middle."""

    low: float
    high: float
    start: float
    end: float
    integers_only: bool = False
    """Whether ticks are whole numbers."""

    def position(self, value: float) -> float:
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.5
        return round(self.start + share * (self.end - self.start), 1)

    def ticks(
        self, max_ticks: int, text: Format = lambda value, digits: f"{value:.{digits}g}"
    ) -> tuple[Tick, ...]:
        values = round_numbers(self.low, self.high, max_ticks, integers_only=self.integers_only)
        texts = distinct_texts(values, text)
        return tuple(Tick(self.position(value), name) for name, value in texts.items())


@dataclass(frozen=True)
class LogAxis:
    """Positive numbers by their logarithm."""

    low: float
    high: float
    start: float
    end: float

    def position(self, value: float) -> float:
        log = LinearAxis(math.log10(self.low), math.log10(self.high), self.start, self.end)
        return log.position(math.log10(value))

    def ticks(self, max_ticks: int) -> tuple[Tick, ...]:
        """Powers of ten; also their doubles and fivefolds if fewer than three powers are inside."""
        low, high = self.low * (1 - 1e-9), self.high * (1 + 1e-9)
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        values = [10.0**e for e in exponents if low <= 10.0**e <= high]
        if len(values) < 3:
            values = [f * 10.0**e for e in exponents for f in (1, 2, 5) if low <= f * 10.0**e <= high]
        every = math.ceil(len(values) / max_ticks)
        return tuple(Tick(self.position(value), f"{value:g}") for value in values[::every])


@dataclass(frozen=True)
class CategoryAxis:
    """Values of any type by name, at equal distances, in the order in which they first appear."""

    names: tuple[str, ...]
    start: float
    end: float

    def position(self, value: Any) -> float:
        return self._at(self.names.index(to_flow(value)))

    def ticks(self, max_ticks: int) -> tuple[Tick, ...]:
        """The first MAX_CATEGORIES names: `max_ticks` counts numbers, which can be left out without a loss."""
        return tuple(Tick(self._at(i), name) for i, name in enumerate(self.names[:MAX_CATEGORIES]))

    def _at(self, index: int) -> float:
        return LinearAxis(0.0, max(1.0, len(self.names) - 1.0), self.start, self.end).position(index)


def axis_for(values: Sequence[Any], start: float, end: float) -> Axis:
    """The axis that fits a trial parameter or a metric: numbers linear or in decades, anything else by name."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if not numbers or len(numbers) < len(values):
        return CategoryAxis(tuple(dict.fromkeys(to_flow(v) for v in values)), start, end)
    low, high = float(min(numbers)), float(max(numbers))
    if low > 0 and high / low >= LOG_FROM_RATIO:
        return LogAxis(low, high, start, end)
    return LinearAxis(low, high, start, end, all(isinstance(v, int) for v in numbers))


def distinct_texts(values: Sequence[float], text: Format) -> dict[str, float]:
    """Values by their texts, with enough digits to tell them apart; values that no digit tells apart are one."""
    found: dict[str, float] = {}
    for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
        found = {text(value, digits): value for value in reversed(values)}
        if len(found) == len(values):
            break
    return dict(reversed(found.items()))


def round_numbers(low: float, high: float, max_count: int, *, integers_only: bool = False) -> list[float]:
    """Evenly spaced round numbers from `low` to `high`, at most `max_count`; only `low` if nothing is between."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    exponent = math.floor(math.log10(span / max_count))
    for factor in (1, 2, 2.5, 5, 10, 20, 25, 50):
        step = factor * 10.0**exponent
        if integers_only and not step.is_integer():
            continue
        first = math.ceil(low / step - 1e-9)
        last = math.floor(high / step + 1e-9)
        if last - first < max_count:
            return [float(f"{i * step:.14g}") for i in range(first, last + 1)]
    return [low, high]
