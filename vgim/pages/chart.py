"""Charts as geometry that the macros of `chart.html` draw in SVG. Positions are in units of the drawing's viewBox."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from vgim.pages.axes import Tick

NUM_COLORS = 8
"""Colors of the palette, `--c0` to `--c7` in `base.css`."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Frame:
    """The size of a drawing, and the box between its axes."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    text_size: float
    mark_size: float
    """Half the width of a mark."""


class Whisker(NamedTuple):
    """An upright interval at a point of a line."""

    x: float
    low: float
    high: float


class LevelLine(NamedTuple):
    """A horizontal line with a name."""

    y: float
    text_x: float
    text_y: float
    anchor: str
    """Which part of the text lies at `text_x`: start, middle or end."""
    text: str
    color: int | None


class EndLabel(NamedTuple):
    """A short name at the right end of a line."""

    x: float
    y: float
    text: str
    color: int


class LegendEntry(NamedTuple):
    """A color of a chart and what it stands for."""

    text: str
    color: int
    hue: int | None = None
    """Degrees, of a color that is not of the palette."""


class Clipped(NamedTuple):
    """A point outside the axes, marked by a triangle at the edge."""

    x: float
    y: float
    angle: int
    """Degrees that the triangle, which points up, is turned clockwise."""
    color: int
    label: str


@dataclass(frozen=True)
class Line:
    """A polyline, with the text that is shown if the reader points at it."""

    path: str
    color: int
    label: str
    kind: str = "line"
    """line; faint: thin and pale; dots: thin, because its marks matter more."""
    dots: tuple[Point, ...] = ()
    """Points that are marked."""
    whiskers: tuple[Whisker, ...] = ()
    values: tuple[str, ...] = ()
    """Text for each point of the path: `x|y`. A reader sees it who points at the point, or steps to it."""


@dataclass(frozen=True)
class Cloud:
    """Points of one class as one path, with the class's name."""

    path: str
    color: int
    hue: int | None
    """Degrees, of a color that is not of the palette; None for the palette's `color`."""
    label: str
    values: tuple[str, ...]
    """Text for each point. `@3` at its start stands for the fourth of the chart's names."""
    size: float
    """Diameter of a point."""
    is_faint: bool = False


class PlacedName(NamedTuple):
    """A name inside a drawing."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A point that stands for one trial, with the text that is shown if the reader points at it."""

    x: float
    y: float
    color: int
    label: str
    ringed: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart of two axes, ready to draw."""

    name: str
    """Unique on the page: the ids of the chart's elements start with it."""
    title: str
    description: str
    """Text for screen readers."""
    frame: Frame
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()
    levels: tuple[LevelLine, ...] = ()
    end_labels: tuple[EndLabel, ...] = ()
    y_label: str = ""
    point_label: str = ""
    """What the x of a point is that a reader points at."""
    note: str = ""
    """A sentence on how to read the chart; may be empty."""
    legend: tuple[LegendEntry, ...] = ()
    clipped: tuple[Clipped, ...] = ()
    clouds: tuple[Cloud, ...] = ()
    placed_names: tuple[PlacedName, ...] = ()
    names: tuple[str, ...] = ()
    """What the texts of `clouds` refer to."""


def dots(points: Iterable[Point]) -> str:
    """The SVG path of separate dots, which are drawn with round ends."""
    return "".join(f"M{x:g} {y:g}h0" for x, y in points)


def polyline(points: Iterable[Point]) -> str:
    """The SVG path through points; empty if there are none."""
    text = "L".join(f"{x:g} {y:g}" for x, y in points)
    return f"M{text}" if text else ""
