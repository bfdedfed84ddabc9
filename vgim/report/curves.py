"""The losses of each module over training, as charts, and where they ended, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vgim.config import RunConfig
from vgim.model.collapse import CHANCE_SHARE, FEWEST_ACTIVE
from vgim.model.losses import chance_of
from vgim.pages.chart import Chart
from vgim.report.line_chart import Level, Series, line_chart
from vgim.report.notes import Notes
from vgim.report.records import ParsedRecord
from vgim.report.tables import Table

LOSSES = {
    "nce": "InfoNCE (nats)",
    "accuracy": "Accuracy: the positive ranks first",
    "kl_per_element": "KL to N(0, 1), per element (nats)",
    "active_units": "Active units",
}
SHARES = {"accuracy", "active_units"}
KINDS = ("train", "validation")


@dataclass(frozen=True)
class Training:
    """How training went."""

    charts: tuple[Chart, ...]
    modules: tuple[int, ...]
    has_validation: bool
    last: Table | None
    events: tuple[tuple[int, str], ...]
    """Step and sentence."""


def training(records: Sequence[ParsedRecord], config: RunConfig | None, notes: Notes) -> Training:
    """Charts, final figures and events of an encoder's records."""
    modules = sorted({m for record in records for m in record.by_module()})
    charts = [
        chart
        for figure, title in LOSSES.items()
        if (chart := figure_chart(f"loss-{figure}", title, figure, records, _levels(figure, config)))
    ]
    events = tuple((r.step, r.message) for r in records if r.kind == "event" and r.message)
    _warn_of_collapse(records, config, events, notes)
    return Training(
        charts=tuple(charts),
        modules=tuple(modules),
        has_validation=any(r.kind == "validation" for r in records),
        last=_last(records, modules),
        events=events,
    )


def figure_chart(
    name: str,
    title: str,
    figure: str,
    records: Iterable[ParsedRecord],
    levels: Sequence[Level] = (),
    *,
    numbered: bool = True,
) -> Chart | None:
    """One figure of all modules over training; None where no module has it, or it is 0 throughout.

    Validation is the line, the training batches a faint one behind it; without validation, they are the line. A line
    is numbered with its module unless it is alone of its kind.
    """
    points: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for record in records:
        for module, figures in record.by_module().items():
            value = figures.get(figure)
            if value is not None and record.kind in KINDS:
                points.setdefault((record.kind, module), []).append((float(record.step), value))
    if not any(y for line in points.values() for _, y in line):
        return None
    modules = sorted({module for _, module in points})
    shown = [m for m in modules if any(y for k in KINDS for _, y in points.get((k, m), []))]
    series, told = [], []
    for module in shown:
        train, validation = (points.get((kind, module), []) for kind in KINDS)
        if validation:
            series.append(Series("", module, f"module {module}, training batches", tuple(train), "faint"))
        line = validation or train
        split = "validation" if validation else "training batches"
        series.append(
            Series(str(module) if numbered else "", module, f"module {module}, {split}", tuple(line))
        )
        told.append(f"module {module} from {line[0][1]:.3g} to {line[-1][1]:.3g}")
    return line_chart(
        name,
        title,
        f"{title} over optimizer steps: {'; '.join(told)}."
        + "".join(f" {level.label.capitalize()}: {level.y:.3g}." for level in levels),
        "optimizer steps",
        series,
        levels,
        y_range=(0.0, 1.05) if figure == "active_units" else None,
        percent=figure in SHARES,
    )


def _levels(figure: str, config: RunConfig | None) -> list[Level]:
    if config is None or figure not in ("nce", "accuracy"):
        return []
    if figure == "nce":
        chance = chance_of(config.objective)
        return [Level(chance.loss, f"chance, {chance.formula}")]
    candidates = 1 + config.objective.num_negatives
    return [Level(1 / candidates, f"chance, 1/{candidates}")]


def _last(records: Sequence[ParsedRecord], modules: Sequence[int]) -> Table | None:
    """The latest figures of each module, of validation where there is any."""
    latest: dict[int, tuple[ParsedRecord, dict[str, float | None]]] = {}
    for kind in KINDS:
        for record in records:
            if record.kind == kind:
                latest.update({m: (record, figures) for m, figures in record.by_module().items()})
    if not latest:
        return None
    rows = []
    for module in modules:
        record, figures = latest[module]
        rows.append(
            (
                str(module),
                f"{record.step:,}",
                record.kind,
                *(_number(figures.get(name)) for name in ("loss", "nce")),
                _percent(figures.get("accuracy")),
                *(_number(figures.get(name)) for name in ("kl", "kl_per_element")),
                _percent(figures.get("active_units")),
            )
        )
    return Table(
        "Latest figures of each module",
        ("module", "step", "on", "loss", "InfoNCE", "accuracy", "KL", "KL per element", "active units"),
        tuple(rows),
    )


def _warn_of_collapse(
    records: Sequence[ParsedRecord],
    config: RunConfig | None,
    events: Iterable[tuple[int, str]],
    notes: Notes,
) -> None:
    """Pass on what the watch said during training, and look at the latest validation once more."""
    told: dict[str, str] = {}
    for _, message in events:
        if "has collapsed" in message or "has recovered" in message:
            told[message.partition(" has ")[0]] = message
    for message in told.values():
        if "has collapsed" in message:
            notes.warn(message)
    if config is None:
        return
    chance = chance_of(config.objective).loss
    last = next((r for r in reversed(records) if r.kind == "validation"), None)
    for module, figures in last.by_module().items() if last else ():
        nce, active = figures.get("nce"), figures.get("active_units")
        if nce is None or active is None or f"module {module}" in told:
            continue
        if nce >= CHANCE_SHARE * chance and active < FEWEST_ACTIVE:
            notes.warn(
                f"module {module} looks collapsed: at the last validation its InfoNCE is {nce:.3f}, chance is "
                f"{chance:.3f}, and {active:.1%} of its units are active"
            )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"
