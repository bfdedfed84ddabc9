"""The pictures of a sweep as geometry that the template draws in SVG. Lengths are in units of the viewBox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vgim.config.text import to_flow
from vgim.tune.results import SweepResult, TrialResult

LEFT, RIGHT, TOP, BOTTOM = 84, 616, 42, 272
LAST = 580  # the last axis of parallel coordinates, whose numbers are written behind it
NUM_COLORS = 8
BEATEN_BY_NONE = "no trial is better in both"


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Mark:
    """A trial in a chart of two axes."""

    x: float
    y: float
    color: int
    label: str
    ringed: bool = False


@dataclass(frozen=True)
class Polyline:
    """A polyline with what is shown when it is pointed at."""

    path: str
    color: int
    """In parallel coordinates its place among all, the worst 0."""
    label: str
    best: bool = False


@dataclass(frozen=True)
class Chart:
    """Two axes, marks, lines."""

    title: str
    note: str
    """A sentence on how to read it; may be empty."""
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Polyline, ...]
    marks: tuple[Mark, ...]
    key: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Coordinates:
    """One upright axis per key of the space, and one for the metric."""

    axes: tuple[tuple[float, str, tuple[Tick, ...]], ...]
    lines: tuple[Polyline, ...]


class Axis:
    """From values to places: numbers by size, in decades where they span some, anything else by name."""

    def __init__(self, values: Sequence[Any], start: float, end: float) -> None:
        self._start, self._end = start, end
        numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        self.is_number = len(numbers) == len(values) and bool(values)
        self._names = list(dict.fromkeys(to_flow(v) for v in values))
        low, high = (
            (min(numbers), max(numbers)) if self.is_number else (0.0, max(1.0, len(self._names) - 1.0))
        )
        self._whole = all(isinstance(v, int) for v in numbers)
        self._log = self.is_number and low > 0 and high / low >= 20
        self._low, self._high = (
            (math.log10(low), math.log10(high)) if self._log else (float(low), float(high))
        )

    def __call__(self, value: Any) -> float:
        if not self.is_number:
            size = float(self._names.index(to_flow(value)))
        else:
            size = math.log10(value) if self._log else float(value)
        span = self._high - self._low
        share = (size - self._low) / span if span > 0 else 0.5
        return round(self._start + share * (self._end - self._start), 1)

    def ticks(self, most: int = 6) -> tuple[Tick, ...]:
        """Where to write what."""
        if not self.is_number:
            return tuple(Tick(self(name), name) for name in self._names[:12])
        if not self._high > self._low:
            value = 10**self._low if self._log else self._low
            return (Tick(self(value), f"{value:.4g}"),)
        if self._log:
            decades = range(math.floor(self._low), math.ceil(self._high) + 1)
            low, high = 10.0 ** (self._low - 1e-9), 10.0 ** (self._high + 1e-9)
            named = [10.0**e for e in decades if low <= 10.0**e <= high]
            if len(named) < 3:
                named = [f * 10.0**e for e in decades for f in (1, 2, 5) if low <= f * 10.0**e <= high]
            return tuple(Tick(self(value), f"{value:g}") for value in named)
        step = 10.0 ** math.floor(math.log10((self._high - self._low) / most))
        step = next(step * f for f in (1, 2, 5, 10, 20) if (self._high - self._low) / (step * f) <= most)
        step = max(step, 1.0) if self._whole else step
        first = math.ceil(self._low / step - 1e-9)
        values = [i * step for i in range(first, math.floor(self._high / step + 1e-9) + 1)]
        return tuple(Tick(self(v), f"{round(v, 10):g}") for v in values)


def parallel_coordinates(result: SweepResult) -> Coordinates | None:
    """Each trial a line over the keys of the space to the metric; None where no trial has a metric."""
    trials = scored(result)
    if not trials:
        return None
    columns = [[t.values[key] for t in trials] for key in result.keys] + [[t.metric for t in trials]]
    names = [key.rpartition(".")[2] for key in result.keys] + ["metric"]
    scales = [Axis(column, BOTTOM, TOP) for column in columns]
    at = [LEFT + i * (LAST - LEFT) / (len(names) - 1) for i in range(len(names))]
    worst_first = sorted(trials, key=lambda t: t.metric or 0.0, reverse=result.metric.mode == "min")
    lines = []
    for rank, trial in enumerate(worst_first):
        row = [*(trial.values[key] for key in result.keys), trial.metric]
        points = [f"{x:g} {scale(v):g}" for x, scale, v in zip(at, scales, row, strict=True)]
        color = min(NUM_COLORS - 1, rank * NUM_COLORS // len(trials))
        lines.append(Polyline("M" + "L".join(points), color, label(trial), trial.id == result.best))
    axes = zip(at, names, (scale.ticks() for scale in scales), strict=True)
    return Coordinates(tuple((round(x, 1), name, ticks) for x, name, ticks in axes), tuple(lines))


def metric_against(result: SweepResult, key: str) -> Chart | None:
    """The metric over one key of the space, a line for each combination of the others (or each depth)."""
    trials = scored(result)
    if not trials:
        return None
    others = [k for k in result.keys if k != key]
    by = ["model.depth"] if "model.depth" in others else others
    x_axis = Axis([t.values[key] for t in trials], LEFT, RIGHT)
    y_axis = Axis([t.metric for t in trials], BOTTOM, TOP)
    groups: dict[str, list[TrialResult]] = {}
    for trial in trials:
        name = ", ".join(f"{k.rpartition('.')[2]} {to_flow(trial.values[k])}" for k in by)
        groups.setdefault(name, []).append(trial)
    groups = dict(sorted(groups.items())) if len(groups) <= NUM_COLORS else {"": trials}
    lines, marks = [], []
    for color, (name, members) in enumerate(groups.items()):
        placed = sorted(((x_axis(t.values[key]), y_axis(t.metric), t) for t in members), key=lambda p: p[:2])
        if len({x for x, _, _ in placed}) == len(placed) and x_axis.is_number:
            lines.append(
                Polyline("M" + "L".join(f"{x:g} {y:g}" for x, y, _ in placed), color, name or "trials")
            )
        marks += [Mark(x, y, color, label(t), t.id == result.best) for x, y, t in placed]
    return Chart(
        f"Metric against {key}",
        "",
        key,
        result.metric_name,
        x_axis.ticks(),
        y_axis.ticks(),
        tuple(lines),
        tuple(marks),
        tuple((name, color) for color, name in enumerate(groups) if name),
    )


def pareto_of_kl(result: SweepResult) -> Chart | None:
    """The metric against KL per element of the module that it is of."""
    points = []
    for trial in scored(result):
        kl = trial.kl_per_element[result.metric.module % trial.depth]
        if kl is None:  # a GRU has no posterior: the last module that has one
            kl = next((value for value in reversed(trial.kl_per_element) if value is not None), None)
        points.append((kl, trial))
    note = "The KL of each frame's posterior from N(0, 1): 0 where it tells nothing of the input."
    return _pareto(result, points, "KL per element", note, "KL per element (nats)")


def pareto_of_normality(result: SweepResult) -> Chart | None:
    """The metric against the distance of the aggregate posterior from N(0, 1)."""
    points = [(trial.mean_ks, trial) for trial in scored(result)]
    note = "The latents of all frames together: 0 where each dimension is distributed as N(0, 1)."
    return _pareto(result, points, "latent normality", note, "KS distance from N(0, 1)")


def _pareto(
    result: SweepResult,
    found: Sequence[tuple[float | None, TrialResult]],
    title: str,
    note: str,
    x_label: str,
) -> Chart | None:
    """The metric against a figure that should be low; those that none beats in both are joined."""
    points = [(figure, trial, trial.metric or 0.0) for figure, trial in found if figure is not None]
    if len(points) < 2:
        return None
    x_axis = Axis([figure for figure, _, _ in points], LEFT, RIGHT)
    y_axis = Axis([metric for _, _, metric in points], BOTTOM, TOP)
    front = front_of([(figure, metric) for figure, _, metric in points], maximize=result.metric.mode == "max")
    joined = sorted((x_axis(points[i][0]), y_axis(points[i][2])) for i in front)
    marks = [
        Mark(
            x_axis(figure),
            y_axis(metric),
            int(i in front),
            f"{label(trial)}\n{x_label}: {figure:.4g}",
            trial.id == result.best,
        )
        for i, (figure, trial, metric) in enumerate(points)
    ]
    return Chart(
        f"Metric against {title}",
        note,
        x_label,
        result.metric_name,
        x_axis.ticks(),
        y_axis.ticks(),
        (Polyline("M" + "L".join(f"{x:g} {y:g}" for x, y in joined), 1, BEATEN_BY_NONE),),
        tuple(marks),
        ((BEATEN_BY_NONE, 1), ("other trials", 0)),
    )


def front_of(points: Sequence[tuple[float, float]], *, maximize: bool) -> set[int]:
    """Indices of the points that no other one beats: lower in the first, and lower (or higher) in the second."""
    sign = -1.0 if maximize else 1.0

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and sign * a[1] <= sign * b[1] and a != b

    return {i for i, point in enumerate(points) if not any(beats(other, point) for other in points)}


def scored(result: SweepResult) -> list[TrialResult]:
    """Trials that have a metric: finished ones, and those that were stopped."""
    return [t for t in result.trials if t.metric is not None]


def label(trial: TrialResult) -> str:
    """What is shown when a trial is pointed at."""
    metric = f"\nmetric {trial.metric:.4f}" if trial.metric is not None else ""
    return f"{trial.id} ({trial.state}){metric}"
