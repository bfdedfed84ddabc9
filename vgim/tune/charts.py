"""The charts of a sweep: parallel coordinates of all trials, and the metric against keys, KL and latent normality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from vgim.config.yaml_text import to_flow
from vgim.pages.axes import Axis, CategoryAxis, LinearAxis, Tick, axis_for
from vgim.pages.chart import NUM_COLORS, Chart, Frame, LegendEntry, LevelLine, Line, Mark, Point, polyline
from vgim.pages.level_labels import ReferenceLine, place_levels
from vgim.tune.metric_levels import MetricLevel
from vgim.tune.results import SweepResult, TrialResult

FRAME = Frame(640, 328, left=84, right=616, top=42, bottom=272, text_size=15, mark_size=5.4)
LAST_AXIS = 580
"""x of the last parallel axis; its numbers are written to the right of it."""
MAX_TICKS = 6
CHANNELS = "model.channels"
PARETO_FRONT = "no trial is better in both"


class ParallelAxis(NamedTuple):
    """An upright axis of parallel coordinates."""

    x: float
    name: str
    ticks: tuple[Tick, ...]


class TrialLine(NamedTuple):
    """A trial as a line over all axes."""

    path: str
    shade: int
    """From 0 for the worst trials to NUM_COLORS - 1 for the best."""
    label: str
    is_best: bool


@dataclass(frozen=True)
class ParallelCoordinates:
    """One upright axis for each key of the space, and one for the metric."""

    frame: Frame
    axes: tuple[ParallelAxis, ...]
    lines: tuple[TrialLine, ...]
    levels: tuple[LevelLine, ...]
    """Chance and baselines on the axis of the metric."""


def parallel_coordinates(result: SweepResult) -> ParallelCoordinates | None:
    """Draw each trial as a line over the keys of the space to the metric; None if no trial has a metric."""
    trials = trials_with_metric(result)
    if not trials:
        return None
    columns = [[t.values[key] for t in trials] for key in result.keys] + [[t.metric for t in trials]]
    names = [_short(key) for key in result.keys] + [short_metric(result)]
    axes: list[Axis] = [axis_for(column, FRAME.bottom, FRAME.top) for column in columns[:-1]]
    axes.append(_metric_axis(result, [trial.metric or 0.0 for trial in trials]))
    xs = [round(FRAME.left + i * (LAST_AXIS - FRAME.left) / (len(names) - 1), 1) for i in range(len(names))]
    worst_first = sorted(trials, key=lambda t: t.metric or 0.0, reverse=result.metric.mode == "min")
    lines = []
    for rank, trial in enumerate(worst_first):
        row = [*(trial.values[key] for key in result.keys), trial.metric]
        path = polyline((x, axis.position(value)) for x, axis, value in zip(xs, axes, row, strict=True))
        shade = rank * NUM_COLORS // len(trials)
        lines.append(TrialLine(path, shade, _label(trial), trial.id == result.shown_as_best))
    return ParallelCoordinates(
        FRAME,
        tuple(
            ParallelAxis(x, name, axis.ticks(MAX_TICKS))
            for x, name, axis in zip(xs, names, axes, strict=True)
        ),
        tuple(lines),
        tuple(
            LevelLine(axes[-1].position(level.value), LAST_AXIS, 0.0, "end", level.name, None)
            for level in result.levels
        ),
    )


def short_metric(result: SweepResult) -> str:
    """What the metric measures, as the name of an axis: `InfoNCE, nats` or `phone accuracy`."""
    return "InfoNCE, nats" if result.metric.kind == "nce" else f"{result.metric.task} accuracy"


def _metric_axis(result: SweepResult, values: Sequence[float]) -> LinearAxis:
    """The metric's axis, which holds chance and baselines too."""
    held = [*values, *(level.value for level in result.levels)]
    return LinearAxis(min(held), max(held), FRAME.bottom, FRAME.top)


def _levels(result: SweepResult, axis: Axis, points: Sequence[Point]) -> tuple[LevelLine, ...]:
    """Chance and baselines as lines, named where they hide no trial."""
    levels = [
        (axis.position(level.value), ReferenceLine(level.value, _level_name(level)))
        for level in result.levels
    ]
    return place_levels(levels, FRAME, [[point] for point in points])


def _level_name(level: MetricLevel) -> str:
    return f"{level.name}, {level.value:.4g}"


def metric_against(result: SweepResult, key: str) -> Chart | None:
    """Draw the metric over one key, with a line for each depth or else each combination of the other keys.

    Returns:
        The chart; None if no trial has a metric.
    """
    trials = trials_with_metric(result)
    if not trials:
        return None
    x_axis = axis_for([t.values[key] for t in trials], FRAME.left, FRAME.right)
    y_axis = _metric_axis(result, [trial.metric or 0.0 for trial in trials])
    groups = _groups(result, key, trials)
    lines, marks = [], []
    for color, (name, members) in enumerate(groups.items()):
        points = sorted(
            ((x_axis.position(t.values[key]), y_axis.position(t.metric or 0.0), t) for t in members),
            key=lambda point: point[:2],
        )
        one_per_x = len({x for x, _, _ in points}) == len(points)
        if one_per_x and not isinstance(x_axis, CategoryAxis):
            lines.append(Line(polyline((x, y) for x, y, _ in points), color, name or "trials"))
        marks += [Mark(x, y, color, _label(t), t.id == result.shown_as_best) for x, y, t in points]
    return Chart(
        name=f"metric-{key.replace('.', '-')}",
        title=f"{short_metric(result)} against {_short(key)}",
        description=_description(result, trials),
        frame=FRAME,
        x_label=key,
        levels=_levels(result, y_axis, [(mark.x, mark.y) for mark in marks]),
        y_label=result.metric_name,
        x_ticks=x_axis.ticks(MAX_TICKS),
        y_ticks=y_axis.ticks(MAX_TICKS),
        lines=tuple(lines),
        marks=tuple(marks),
        legend=tuple(LegendEntry(name, color) for color, name in enumerate(groups) if name),
    )


def _groups(result: SweepResult, key: str, trials: Sequence[TrialResult]) -> dict[str, Sequence[TrialResult]]:
    """Trials by depth, or else by the other keys; one group without a name if there are more than colors."""
    others = [other for other in result.keys if other != key]
    by = ["model.depth"] if "model.depth" in others else others
    groups: dict[str, list[TrialResult]] = {}
    for trial in trials:
        name = ", ".join(f"{_short(k)} {to_flow(trial.values[k])}" for k in by)
        groups.setdefault(name, []).append(trial)
    return dict(sorted(groups.items())) if len(groups) <= NUM_COLORS else {"": trials}


def pareto_of_kl(result: SweepResult) -> Chart | None:
    """Draw the metric against KL; None if fewer than two trials have both.

    Trials of different widths are compared by KL per frame, other trials by KL per element. The KL is that
    of the metric's module. A GRU has no posterior: there, the last module with one counts.
    """
    trials = trials_with_metric(result)
    unit = "frame" if CHANNELS in result.keys else "element"
    points = []
    for trial in trials:
        kl = trial.kl_per_element[result.metric.module % trial.depth]
        if kl is None:
            kl = next((value for value in reversed(trial.kl_per_element) if value is not None), None)
        if kl is not None and unit == "frame":
            kl *= trial.values[CHANNELS]
        points.append((kl, trial))
    chart = _pareto(result, points, f"KL per {unit} (nats)")
    return chart and replace(
        chart,
        name="pareto-kl",
        title=f"{short_metric(result)} against KL per {unit}",
        note="KL between each frame's posterior and N(0, 1): 0 if the posterior carries nothing about the input.",
    )


def pareto_of_normality(result: SweepResult) -> Chart | None:
    """Draw the metric against the distance of the latents from N(0, 1); None if fewer than two trials have both."""
    points = [(trial.mean_ks, trial) for trial in trials_with_metric(result)]
    chart = _pareto(result, points, "KS distance from N(0, 1)")
    return chart and replace(
        chart,
        name="pareto-normality",
        title=f"{short_metric(result)} against latent normality",
        note="Distribution of the latents over all frames: 0 if each dimension is distributed as N(0, 1).",
    )


def _pareto(
    result: SweepResult, values: Sequence[tuple[float | None, TrialResult]], x_label: str
) -> Chart | None:
    """Draw the metric against a value that should be low, and join the trials of the Pareto front."""
    points = [(x, trial.metric or 0.0, trial) for x, trial in values if x is not None]
    if len(points) < 2:
        return None
    x_axis = axis_for([x for x, _, _ in points], FRAME.left, FRAME.right)
    y_axis = _metric_axis(result, [metric for _, metric, _ in points])
    placed = [(x_axis.position(x), y_axis.position(metric)) for x, metric, _ in points]
    front = pareto_front(
        [(x, metric) for x, metric, _ in points], maximize_second=result.metric.mode == "max"
    )
    marks = [
        Mark(
            *placed[i],
            int(i in front),
            f"{_label(trial)}\n{x_label}: {x:.4g}",
            trial.id == result.shown_as_best,
        )
        for i, (x, _, trial) in enumerate(points)
    ]
    return Chart(
        name="pareto",
        title=f"{short_metric(result)} against {x_label}",
        description=_description(result, [trial for _, _, trial in points]),
        frame=FRAME,
        levels=_levels(result, y_axis, placed),
        x_label=x_label,
        y_label=result.metric_name,
        x_ticks=x_axis.ticks(MAX_TICKS),
        y_ticks=y_axis.ticks(MAX_TICKS),
        lines=(Line(polyline(sorted(placed[i] for i in front)), 1, PARETO_FRONT),),
        marks=tuple(marks),
        legend=(LegendEntry(PARETO_FRONT, 1), LegendEntry("other trials", 0)),
    )


def pareto_front(points: Sequence[tuple[float, float]], *, maximize_second: bool) -> set[int]:
    """Indices of the points that no other point beats.

    Args:
        points: a value that should be low, and a value that should be low too, or high with `maximize_second`.
    """
    sign = -1.0 if maximize_second else 1.0

    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and sign * a[1] <= sign * b[1] and a != b

    return {i for i, point in enumerate(points) if not any(beats(other, point) for other in points)}


def trials_with_metric(result: SweepResult) -> list[TrialResult]:
    """Finished trials, and stopped or running ones that have reported a metric."""
    return [t for t in result.trials if t.metric is not None]


def _label(trial: TrialResult) -> str:
    """The text that is shown if the reader points at a trial."""
    metric = f"\nmetric {trial.metric:.4f}" if trial.metric is not None else ""
    return f"{trial.id} ({trial.state}){metric}"


def _description(result: SweepResult, trials: Sequence[TrialResult]) -> str:
    metrics = [trial.metric for trial in trials if trial.metric is not None]
    best = f" The best trial is {result.shown_as_best}." if result.shown_as_best else ""
    return f"{len(trials)} trials with a metric from {min(metrics):.4g} to {max(metrics):.4g}.{best}"


def _short(key: str) -> str:
    """`depth` for `model.depth`."""
    return key.rpartition(".")[2]
