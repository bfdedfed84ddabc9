"""The metrics of each module: charts over training, and a table of the latest values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vgim.config import RunConfig
from vgim.model.losses import chance_of
from vgim.model.specs import module_specs
from vgim.pages.chart import Chart
from vgim.pages.level_labels import ReferenceLine
from vgim.report.line_chart import Series, line_chart
from vgim.report.metrics import MetricsLine
from vgim.report.notes import Notes
from vgim.report.tables import Table

METRIC_TITLES = {
    "nce": "InfoNCE (nats)",
    "accuracy": "Accuracy: the positive ranks first",
    "kl_per_element": "KL to N(0, 1), per element (nats)",
    "kl_per_frame": "KL to N(0, 1), per frame (nats)",
    "kld_weight": "KL weight, adapted to the target rate",
    "active_units": "Active units",
}
SHARES = {"accuracy", "active_units"}
KINDS = ("train", "validation")


@dataclass(frozen=True)
class Training:
    """The training section of the page."""

    charts: tuple[Chart, ...]
    modules: tuple[int, ...]
    has_validation: bool
    last: Table | None
    events: tuple[tuple[int, str], ...]
    """Step and sentence."""


def describe_training(records: Sequence[MetricsLine], config: RunConfig | None, notes: Notes) -> Training:
    """Charts, latest metrics and events of an encoder's records; warns of modules that have collapsed."""
    modules = sorted({m for record in records for m in record.by_module()})
    charts = [
        chart
        for metric, title in METRIC_TITLES.items()
        if (chart := metric_chart(f"loss-{metric}", title, metric, records, _levels(metric, config)))
    ]
    events = tuple((r.step, r.message) for r in records if r.kind == "event" and r.message)
    _warn_of_collapse(events, notes)
    return Training(
        charts=tuple(charts),
        modules=tuple(modules),
        has_validation=any(r.kind == "validation" for r in records),
        last=_last(records, modules, config),
        events=events,
    )


def metric_chart(
    name: str,
    title: str,
    metric: str,
    records: Iterable[MetricsLine],
    levels: Sequence[ReferenceLine] = (),
    *,
    numbered: bool = True,
) -> Chart | None:
    """One metric of all modules over training; None if there is nothing to draw.

    A module whose metric is always 0 is left out, as is the KL of a module without a posterior; but a share of 0 is
    drawn, such as no active units.

    Validation is drawn as a line, with a faint line for training batches behind it. Without validation, training
    batches are drawn as the line.

    Args:
        metric: key of the metric in a record's modules.
        numbered: whether each line ends with the number of its module.
    """
    points: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for record in records:
        for module, metrics in record.by_module().items():
            value = metrics.get(metric)
            if value is not None and math.isfinite(value) and record.kind in KINDS:
                points.setdefault((record.kind, module), []).append((float(record.step), value))
    is_share = metric in SHARES
    shown = sorted({m for (_, m), line in points.items() if is_share or any(y for _, y in line)})
    if not shown:
        return None
    series, ranges = [], []
    for module in shown:
        train, validation = (points.get((kind, module), []) for kind in KINDS)
        if validation:
            series.append(Series("", module, f"module {module}, training batches", tuple(train), "faint"))
        line = validation or train
        split = "validation" if validation else "training batches"
        series.append(
            Series(str(module) if numbered else "", module, f"module {module}, {split}", tuple(line))
        )
        ranges.append(f"module {module} from {line[0][1]:.3g} to {line[-1][1]:.3g}")
    return line_chart(
        name,
        title,
        f"{title} over optimizer steps: {'; '.join(ranges)}."
        + "".join(f" {level.label.capitalize()}: {level.y:.3g}." for level in levels),
        "optimizer steps",
        series,
        levels,
        y_range=(0.0, 1.05) if metric == "active_units" else None,
        percent=is_share,
    )


def _levels(metric: str, config: RunConfig | None) -> list[ReferenceLine]:
    if config is None or metric not in ("nce", "accuracy"):
        return []
    if metric == "nce":
        chance = chance_of(config.objective)
        return [ReferenceLine(chance.loss, f"chance, {chance.formula}")]
    candidates = 1 + config.objective.num_negatives
    return [ReferenceLine(1 / candidates, f"chance, 1/{candidates}")]


def _last(records: Sequence[MetricsLine], modules: Sequence[int], config: RunConfig | None) -> Table | None:
    """The latest metrics of each module, from validation if there is any; no KL of a module without a posterior."""
    latest: dict[int, tuple[MetricsLine, dict[str, float | None]]] = {}
    for kind in KINDS:
        for record in records:
            if record.kind == kind:
                latest.update({m: (record, metrics) for m, metrics in record.by_module().items()})
    if not latest:
        return None
    specs = module_specs(config.model) if config is not None else ()
    without_posterior = {m for m, spec in enumerate(specs) if not spec.posterior}
    rows = []
    for module in modules:
        record, metrics = latest[module]
        kl = ("kl", "kl_per_element", "kl_per_frame")
        if module in without_posterior:
            metrics = {name: None if name in kl else value for name, value in metrics.items()}
        rows.append(
            (
                str(module),
                f"{record.step:,}",
                record.kind,
                *(_number(metrics.get(name)) for name in ("loss", "nce")),
                _percent(metrics.get("accuracy")),
                *(_number(metrics.get(name)) for name in kl),
                _percent(metrics.get("active_units")),
            )
        )
    return Table(
        "Latest metrics of each module",
        (
            "module",
            "step",
            "on",
            "loss",
            "InfoNCE",
            "accuracy",
            "KL",
            "KL per element",
            "KL per frame",
            "active units",
        ),
        tuple(rows),
    )


def _warn_of_collapse(events: Iterable[tuple[int, str]], notes: Notes) -> None:
    """Warn of collapses that training recorded as events; the verdict finds those of older runs too."""
    latest_event: dict[str, str] = {}
    for _, message in events:
        if "has collapsed" in message or "has recovered" in message:
            latest_event[message.partition(" has ")[0]] = message
    for message in latest_event.values():
        if "has collapsed" in message:
            notes.warn(message)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
