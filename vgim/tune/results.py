"""The results of a sweep, read from its trials' folders, as a table, results.json and results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from vgim.config.yaml_text import to_flow
from vgim.downstream.result import Interval
from vgim.errors import VgimError
from vgim.model.nat_cost import differing_units
from vgim.model.specs import module_specs
from vgim.runs.checkpoint import Checkpoint, checkpoints_and_damage
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import MetricsRecord, damaged_lines_in_words, inherited_steps, read_metrics_file
from vgim.runs.record_file import read_record
from vgim.storage import Location
from vgim.text import MISSING, align_columns, format_number
from vgim.tune.config import MetricConfig
from vgim.tune.latent_normality import posterior_module, read_normality
from vgim.tune.metric_levels import MetricLevel, metric_levels
from vgim.tune.trial_reports import read_reports
from vgim.tune.trials import Trial
from vgim.tune.verdict import SweepVerdict
from vgim.verdict.console import next_lines
from vgim.verdict.learning import judge_module
from vgim.verdict.read import module_figures
from vgim.verdict.verdict import ModuleState

RESULTS, CSV, PAGE = "results.json", "results.csv", "sweep.html"
LEARNED: dict[ModuleState | None, str] = {
    "learned": "yes",
    "begun": "hardly",
    "unsure": "unsure",
    "chance": "at chance",
    "collapsed": "collapsed",
    "untrained": "untrained",
    "given": "given",
    "not_finite": "not finite",
}
"""States of a module in a table."""
TrialState = Literal["waiting", "running", "finished", "failed", "interrupted", "stopped", "unreadable"]


class TrialResult(BaseModel):
    """The state and metrics of one trial."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str
    run: str
    state: TrialState
    """waiting: the trial has no run yet. unreadable: its files are damaged, see `message`."""
    message: str
    """How the trial ended, or why it failed."""
    values: dict[str, Any]
    """Config key → value, for the keys of the space."""
    metric: float | None
    """Latest value of the sweep's metric."""
    interval: Interval | None = None
    """95 % interval of the latest accuracy over utterances; None for InfoNCE, and for probes of older versions."""
    module_state: ModuleState | None = None
    """Whether the measured module learned, by the rule of `vgim.verdict.learning`; None if that is unknown."""
    curve: tuple[tuple[int, float], ...]
    """Epoch and metric of each report, oldest first."""
    step: int
    depth: int
    """Number of modules."""
    nce: tuple[float | None, ...]
    """InfoNCE of each module in nats, at its latest validation."""
    kl_per_element: tuple[float | None, ...]
    """KL of each module in nats per element, at its latest validation; None for a module without a posterior."""
    mean_ks: float | None = None
    """Distance of the latents from N(0, 1), see `latent_normality`; None if it was not measured."""
    train_seconds: float
    """Time in optimizer steps, without the steps of a shallower trial that this one started from."""


class SweepResult(BaseModel):
    """`results.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: Literal[1] = 1
    name: str
    metric: MetricConfig
    metric_name: str
    keys: tuple[str, ...]
    """Config keys of the space."""
    best: str | None
    """Id of the finished trial with the best metric."""
    trials: tuple[TrialResult, ...]
    notes: tuple[str, ...] = ()
    """Sentences on what does not compare; results without any have no such key."""
    levels: tuple[MetricLevel, ...] = ()
    """Chance and baselines, where all trials have the same; results without any have no such key."""
    verdict: SweepVerdict | None = None
    """What the results say; None in files of older versions."""

    @property
    def shown_as_best(self) -> str | None:
        """Id of the trial that is shown as the best one: none if all are at chance."""
        return self.best if self.verdict is None else self.verdict.best

    @model_serializer(mode="wrap")
    def _without_empty_keys(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = handler(self)
        for key in ("notes", "levels"):
            if not dumped.get(key):
                dumped.pop(key, None)
        return dumped


def collect(
    name: str, metric: MetricConfig, keys: Sequence[str], trials: Sequence[Trial], notes: Sequence[str] = ()
) -> SweepResult:
    """Read every trial's folder.

    Args:
        name: The sweep's name.
        metric: What trials are compared by.
        keys: Config keys of the space.
        trials: The trials.
        notes: Sentences to add to the results' notes.
    """
    read = [_read_or_report(trial, metric) for trial in trials]
    results = tuple(result for result, _ in read)
    damaged = [f"{result.id}: {sentence}" for result, sentences in read for sentence in sentences]
    best = ranked(results, metric)
    module = "the last module" if metric.module == -1 else f"module {metric.module}"
    measure = "validation InfoNCE" if metric.kind == "nce" else f"{metric.task} accuracy (quick probe)"
    return SweepResult(
        name=name,
        metric=metric,
        metric_name=f"{measure} of {module}",
        keys=tuple(keys),
        best=best[0].id if best else None,
        trials=results,
        notes=(*_notes(trials, metric), *damaged, *notes),
        levels=metric_levels(trials, metric),
    )


def ranked(trials: Sequence[TrialResult], metric: MetricConfig) -> list[TrialResult]:
    """Finished trials that have a metric, best first."""
    scored = [t for t in trials if t.state == "finished" and t.metric is not None]
    return sorted(scored, key=lambda t: t.metric or 0.0, reverse=metric.mode == "max")


def write(folder: Location, result: SweepResult) -> None:
    """Write results.json and results.csv."""
    out = io.StringIO()
    rows = csv.writer(out)
    columns = ("metric", "step", "nce", "kl_per_element", "mean_ks", "train_seconds", "message")
    rows.writerow(["id", "state", *result.keys, *columns])
    for t in result.trials:
        nce, kl = (
            " ".join("" if v is None else f"{v:.6g}" for v in row) for row in (t.nce, t.kl_per_element)
        )
        values = [to_flow(t.values.get(key)) for key in result.keys]
        metrics = (t.metric, t.step, nce, kl, t.mean_ks, round(t.train_seconds, 1), t.message)
        rows.writerow([t.id, t.state, *values, *metrics])
    folder.child(CSV).write_bytes_atomic(out.getvalue().encode())
    folder.child(RESULTS).write_bytes_atomic(result.model_dump_json(indent=1).encode())


def read(folder: Location) -> SweepResult:
    """Read a sweep's results.json.

    Raises:
        StorageError: The file is missing or damaged.
    """
    problem, fix = "does not read as a sweep's results", "`vgim sweep show` writes it anew"
    return read_record(folder.child(RESULTS), SweepResult, problem=problem, fix=fix)


def format_table(result: SweepResult, width: int | None = None) -> str:
    """The verdict and the table for a terminal of a width: finished trials best first, then the others."""
    best = ranked(result.trials, result.metric)
    rest = [t for t in result.trials if t not in best]
    short = [key.rpartition(".")[2] for key in result.keys]
    header = ("trial", "state", *short, "metric", "95 %", "learned", "step", "nce", "kl/element", "ks")
    rows = [
        (
            t.id,
            t.state,
            *(to_flow(t.values.get(key)) for key in result.keys),
            format_number(t.metric, ".4f"),
            MISSING if t.interval is None else f"{t.interval.low:.3f} to {t.interval.high:.3f}",
            LEARNED.get(t.module_state, MISSING),
            str(t.step),
            _row(t.nce),
            _row(t.kl_per_element),
            format_number(t.mean_ks, ".3f"),
        )
        for t in [*best, *rest]
    ]
    lines = []
    if result.verdict is not None:
        lines += [f"verdict: {sentence}" for sentence in result.verdict.sentences]
        lines += [*next_lines(result.verdict.next), ""]
    lines.append(align_columns([header, *rows], num_left=2, width=width))
    told = ("failed", "stopped", "unreadable")
    lines += [f"{t.id} {t.state}: {t.message}" for t in rest if t.state in told]
    better = "lowest" if result.metric.mode == "min" else "highest"
    lines.append(
        f"metric: {result.metric_name}, {better} is best"
        + (f": {result.shown_as_best}" if result.shown_as_best else "")
    )
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines)


def _notes(trials: Sequence[Trial], metric: MetricConfig) -> tuple[str, ...]:
    """Whether KL weights compare over the trials, in the module by which trials are compared."""
    measured = {t.id: (t.config, posterior_module(t.config, metric)) for t in trials}
    found = {name: (config, module) for name, (config, module) in measured.items() if module is not None}
    note = differing_units(
        {name: config for name, (config, _) in found.items()}, [module for _, module in found.values()]
    )
    return () if note is None else (note,)


def _read_or_report(trial: Trial, metric: MetricConfig) -> tuple[TrialResult, list[str]]:
    """A trial's result, and clauses on what of it is damaged; an unreadable trial hides no other."""
    try:
        file = read_metrics_file(trial.run)
        damaged = [damaged_lines_in_words(file.num_damaged)] if file.num_damaged else []
        checkpoints, damage = checkpoints_and_damage(trial.run)
        damaged += [f"{one}; that checkpoint cannot be read" for one in damage]
        return _read_trial(trial, metric, file.records, checkpoints), damaged
    except VgimError as error:
        depth = trial.config.model.num_modules
        result = TrialResult(
            id=trial.id,
            run=trial.run.uri,
            state="unreadable",
            message=str(error),
            values=trial.values,
            metric=None,
            curve=(),
            step=0,
            depth=depth,
            nce=(None,) * depth,
            kl_per_element=(None,) * depth,
            train_seconds=0.0,
        )
        return result, []


def _read_trial(
    trial: Trial, metric: MetricConfig, found: list[MetricsRecord], checkpoints: Sequence[Checkpoint]
) -> TrialResult:
    record = RunFolder(trial.run).record()
    records = found if record is not None else []
    reports = read_reports(trial.run, trial.config, metric) if record is not None else []
    normality = list(read_normality(trial.run, trial.config, metric)) if record is not None else []
    latest: dict[int, MetricsRecord] = {}
    for validation in (r for r in records if r["kind"] == "validation"):
        latest |= {module.get("module", index): module for index, module in enumerate(validation["modules"])}
    depth = trial.config.model.num_modules
    return TrialResult(
        id=trial.id,
        run=trial.run.uri,
        state=record.state if record is not None else "waiting",
        message=record.message if record is not None else "",
        values=trial.values,
        metric=reports[-1].value if reports else None,
        interval=reports[-1].interval if reports else None,
        module_state=_module_state(trial, metric, records) if records else None,
        curve=tuple((r.epoch, r.value) for r in reports),
        step=checkpoints[-1].state.step if record is not None and checkpoints else 0,
        depth=depth,
        nce=tuple(latest.get(m, {}).get("nce") for m in range(depth)),
        kl_per_element=tuple(
            latest.get(m, {}).get("kl_per_element") if spec.posterior else None
            for m, spec in enumerate(module_specs(trial.config.model))
        ),
        mean_ks=normality[-1].mean_ks if normality else None,
        train_seconds=_seconds(records),
    )


def _module_state(trial: Trial, metric: MetricConfig, records: Sequence[MetricsRecord]) -> ModuleState:
    figures = module_figures(trial.config, records)[metric.module % trial.config.model.num_modules]
    return judge_module(trial.config, figures).state


def _seconds(records: Sequence[MetricsRecord]) -> float:
    """Time in the run's own optimizer steps, without validation and checkpoints; without damaged records."""
    seconds, before = 0.0, inherited_steps(records)
    for record in records:
        if record["kind"] == "train" and record["step"] > before:
            rate = record.get("steps_per_s") or 0.0
            seconds += (record["step"] - before) / rate if rate > 0 else 0.0
            before = record["step"]
    return seconds


def _row(values: Sequence[float | None]) -> str:
    return " ".join("-" if v is None else f"{v:.3f}" for v in values) or "-"
