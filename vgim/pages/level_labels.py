"""Where the names of horizontal lines stand in a chart: where they hide the fewest points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from vgim.pages.chart import Frame, LevelLine, Point

SHIFTS = (-4.0, 12.0, -12.0, 20.0)
"""From a line to the baseline of a name above or below it, near and farther, for text of 11.5 units."""
TEXT_SIZE = 11.5
WIDTH_OF_LETTER = 0.7
"""Width of a letter on a phone, where names are larger, in units of the text's size."""
STEP = 3.0
"""Distance of the points of a line that are tested."""
FORBIDDEN = 10_000


@dataclass(frozen=True)
class ReferenceLine:
    """A horizontal line with a name."""

    y: float
    label: str
    color: int | None = None


@dataclass(frozen=True)
class _Box:
    left: float
    right: float
    top: float
    bottom: float

    def holds(self, point: Point) -> bool:
        return self.left <= point[0] <= self.right and self.top <= point[1] <= self.bottom

    def overlaps(self, other: _Box) -> bool:
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )


def place_levels(
    levels: Sequence[tuple[float, ReferenceLine]], frame: Frame, lines: Sequence[Sequence[Point]]
) -> tuple[LevelLine, ...]:
    """Put each name at one end or in the middle of its line, above or below it, where it hides the least.

    Of equally good places, the first of `SHIFTS` at the right end is taken.

    Args:
        levels: Heights in the drawing, and what to draw there.
        lines: Polylines and single points that a name should not hide.
    """
    scale = frame.text_size / TEXT_SIZE
    points = [point for line in lines for point in _walk(line, frame)]
    points += [(x, y) for y, _ in levels for x in _range(frame.left, frame.right)]
    placed: list[LevelLine] = []
    taken: list[_Box] = []
    for y, level in sorted(levels, key=lambda pair: pair[0]):
        own = [(x, point_y) for x, point_y in points if abs(point_y - y) > 1e-9]
        candidates = [
            _candidate(y, level, frame, anchor, shift * scale)
            for shift, anchor in product(SHIFTS, ("end", "start", "middle"))
        ]
        cost = [_cost(box, own, taken, frame) for _, box in candidates]
        line, box = candidates[cost.index(min(cost))]
        placed.append(line)
        taken.append(box)
    return tuple(placed)


def _candidate(
    y: float, level: ReferenceLine, frame: Frame, anchor: str, shift: float
) -> tuple[LevelLine, _Box]:
    width = WIDTH_OF_LETTER * frame.text_size * len(level.label)
    middle = (frame.left + frame.right) / 2
    x, left = {
        "end": (frame.right - 1, frame.right - 1 - width),
        "start": (frame.left + 3, frame.left + 3),
        "middle": (middle, middle - width / 2),
    }[anchor]
    baseline = round(y + shift, 1)
    box = _Box(left, left + width, baseline - 0.85 * frame.text_size, baseline + 0.2 * frame.text_size)
    return LevelLine(y, x, baseline, anchor, level.label, level.color), box


def _cost(box: _Box, points: Sequence[Point], taken: Sequence[_Box], frame: Frame) -> int:
    cost = sum(map(box.holds, points))
    cost += FORBIDDEN * sum(map(box.overlaps, taken))
    return cost + FORBIDDEN * (box.top < frame.top - frame.text_size or box.bottom > frame.bottom)


def _walk(line: Sequence[Point], frame: Frame) -> list[Point]:
    """Points along the part of a polyline that the frame's height shows, `STEP` apart."""
    walked = [point for point in line if frame.top <= point[1] <= frame.bottom]
    for (x0, y0), (x1, y1) in pairwise(line):
        num = int(max(abs(x1 - x0), abs(y1 - y0)) / STEP)
        first, last = 1, num - 1
        if y1 != y0:  # a point far outside, such as a spike's, would else take thousands of steps there
            start, end = sorted(((frame.top - y0) / (y1 - y0) * num, (frame.bottom - y0) / (y1 - y0) * num))
            first, last = max(first, math.ceil(start)), min(last, math.floor(end))
        walked += [(x0 + (x1 - x0) * i / num, y0 + (y1 - y0) * i / num) for i in range(first, last + 1)]
    return walked


def _range(low: float, high: float) -> list[float]:
    return [low + STEP * i for i in range(int((high - low) / STEP) + 1)]
