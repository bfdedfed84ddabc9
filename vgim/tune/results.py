"""What a sweep has found, read off its trials' folders: a table, results.json, results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from vgim.config.text import to_flow
from vgim.model.stack import module_specs
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import MetricsRecord, read_metrics
from vgim.storage import Location
from vgim.train.depth_resume import inherited_steps
from vgim.tune.config import MetricConfig
from vgim.tune.normality import read_normality
from vgim.tune.plan import Trial
from vgim.tune.trial_reports import reports

RESULTS, CSV, PAGE = "results.json", "results.csv", "sweep.html"
TrialState = Literal["waiting", "running", "finished", "failed", "interrupted", "stopped"]


class TrialResult(BaseModel):
    """One trial."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    run: str
    state: TrialState
    """waiting: it has no run yet."""
    message: str
    """How it ended, or why it failed."""
    values: dict[str, Any]
    """Its point of the space."""
    metric: float | None
    """The latest."""
    curve: tuple[tuple[int, float], ...]
    """Epoch and metric, oldest first."""
    step: int
    depth: int
    """Modules."""
    nce: tuple[float | None, ...]
    kl_per_element: tuple[float | None, ...]
    """Of each module, at its latest validation; None of modules without a posterior, whose KL is no figure."""
    mean_ks: float | None = None
    """Distance of the latents from N(0, 1), see `normality`; None where nothing was measured, or has no posterior."""
    train_seconds: float
    """In steps of its own; what a shallower trial trained for it is not counted."""


class SweepResult(BaseModel):
    """`results.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str
    metric: MetricConfig
    metric_name: str
    keys: tuple[str, ...]
    """Of the space."""
    best: str | None
    """Id of the finished trial with the best metric."""
    trials: tuple[TrialResult, ...]


def collect(name: str, metric: MetricConfig, keys: Sequence[str], trials: Sequence[Trial]) -> SweepResult:
    """Read every trial's folder."""
    found = tuple(_of_trial(trial, metric) for trial in trials)
    best = ranked(found, metric)
    of = "the last module" if metric.module == -1 else f"module {metric.module}"
    what = "validation InfoNCE" if metric.kind == "nce" else f"{metric.task} accuracy (quick probe)"
    return SweepResult(
        name=name,
        metric=metric,
        metric_name=f"{what} of {of}",
        keys=tuple(keys),
        best=best[0].id if best else None,
        trials=found,
    )


def ranked(trials: Sequence[TrialResult], metric: MetricConfig) -> list[TrialResult]:
    """Finished trials that have a metric, best first."""
    scored = [t for t in trials if t.state == "finished" and t.metric is not None]
    return sorted(scored, key=lambda t: t.metric or 0.0, reverse=metric.mode == "max")


def write(folder: Location, result: SweepResult) -> None:
    """results.json and results.csv."""
    out = io.StringIO()
    rows = csv.writer(out)
    figures = ("metric", "step", "nce", "kl_per_element", "mean_ks", "train_seconds", "message")
    rows.writerow(["id", "state", *result.keys, *figures])
    for t in result.trials:
        nce, kl = (
            " ".join("" if v is None else f"{v:.6g}" for v in row) for row in (t.nce, t.kl_per_element)
        )
        values = [to_flow(t.values.get(key)) for key in result.keys]
        told = (t.metric, t.step, nce, kl, t.mean_ks, round(t.train_seconds, 1), t.message)
        rows.writerow([t.id, t.state, *values, *told])
    folder.child(CSV).write_bytes_atomic(out.getvalue().encode())
    folder.child(RESULTS).write_bytes_atomic(result.model_dump_json(indent=1).encode())


def read(folder: Location) -> SweepResult:
    """results.json of a sweep."""
    return SweepResult.model_validate_json(folder.child(RESULTS).read_bytes())


def format_table(result: SweepResult) -> str:
    """The table for a terminal: finished trials best first, then the others."""
    best = ranked(result.trials, result.metric)
    rest = [t for t in result.trials if t not in best]
    short = [key.rpartition(".")[2] for key in result.keys]
    table = Table(box=None, header_style="bold")
    for column in ("trial", "state", *short, "metric", "step", "nce", "kl/element", "ks"):
        table.add_column(column, justify="left" if column in ("trial", "state") else "right", no_wrap=True)
    for t in [*best, *rest]:
        table.add_row(
            t.id,
            t.state,
            *(to_flow(t.values.get(key)) for key in result.keys),
            "-" if t.metric is None else f"{t.metric:.4f}",
            str(t.step),
            _row(t.nce),
            _row(t.kl_per_element),
            "-" if t.mean_ks is None else f"{t.mean_ks:.3f}",
        )
    console = Console(width=240)
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    lines += [f"{t.id} {t.state}: {t.message}" for t in rest if t.state in ("failed", "stopped")]
    which = "lowest" if result.metric.mode == "min" else "highest"
    lines.append(
        f"metric: {result.metric_name}, {which} is best" + (f": {result.best}" if result.best else "")
    )
    return "\n".join(lines)


def _of_trial(trial: Trial, metric: MetricConfig) -> TrialResult:
    record = RunFolder(trial.run).record()
    records = list(read_metrics(trial.run)) if record is not None else []
    told = reports(trial.run, trial.config, metric) if record is not None else []
    normality = list(read_normality(trial.run, trial.config, metric)) if record is not None else []
    latest: dict[int, MetricsRecord] = {}
    for validation in (r for r in records if r["kind"] == "validation"):
        latest |= {module["module"]: module for module in validation["modules"]}
    checkpoints = complete_checkpoints(trial.run) if record is not None else []
    depth = trial.config.model.num_modules
    return TrialResult(
        id=trial.id,
        run=trial.run.uri,
        state=record.state if record is not None else "waiting",
        message=record.message if record is not None else "",
        values=trial.values,
        metric=told[-1].value if told else None,
        curve=tuple((r.epoch, r.value) for r in told),
        step=checkpoints[-1].state.step if checkpoints else 0,
        depth=depth,
        nce=tuple(latest.get(m, {}).get("nce") for m in range(depth)),
        kl_per_element=tuple(
            latest.get(m, {}).get("kl_per_element") if spec.posterior else None
            for m, spec in enumerate(module_specs(trial.config.model))
        ),
        mean_ks=normality[-1].mean_ks if normality else None,
        train_seconds=_seconds(records),
    )


def _seconds(records: Sequence[MetricsRecord]) -> float:
    """Time in the run's own steps, validation and checkpoints not counted."""
    seconds, before = 0.0, inherited_steps(records)
    for record in records:
        if record["kind"] == "train" and record["step"] > before:
            seconds += (record["step"] - before) / record["steps_per_s"]
            before = record["step"]
    return seconds


def _row(values: Sequence[float | None]) -> str:
    return " ".join("-" if v is None else f"{v:.3f}" for v in values) or "-"
