"""Other runs beside this one: what differs in their configs, how their losses ended, what their probes found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vgim.config import RunConfig
from vgim.config.difference import config_difference
from vgim.downstream.result import ProbeResult, in_percent
from vgim.errors import VgimError
from vgim.report.notes import Notes
from vgim.report.probes import BASELINES, encoder_name, place_in, read_results
from vgim.report.records import MetricsRecord, read_records
from vgim.report.tables import Table, cell
from vgim.storage import Location
from vgim.train.folder import CONFIG, RunFolder


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other."""

    tables: tuple[Table, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    """For each other run, the keys of its config that differ from this run's."""


@dataclass(frozen=True)
class _Run:
    name: str
    place: Location
    config: RunConfig
    records: tuple[MetricsRecord, ...]
    probes: tuple[ProbeResult, ...]


def comparison(run: Location, others: Sequence[Location], notes: Notes) -> Comparison:
    """Tables over this run and the others, this one first; a run that cannot be read is noted."""
    runs = [read for place in (run, *others) if (read := _read(place, notes)) is not None]
    differences = []
    for other in runs[1:] if runs and runs[0].place == run else []:
        found = [
            line
            for line in config_difference(runs[0].config, other.config)
            if not line.startswith("storage.")
        ]
        differences.append((other.name, tuple(found)))
    tasks = sorted({result.task for one in runs for result in one.probes})
    tables = [_losses(runs), *(_probes(task, runs) for task in tasks)]
    return Comparison(tuple(table for table in tables if table.rows), tuple(differences))


def _read(place: Location, notes: Notes) -> _Run | None:
    try:
        config = RunFolder(place).config()
    except VgimError as error:
        notes.damage(place, str(error))
        return None
    if config is None:
        notes.damage(place, f"it is no run: it has no {CONFIG}")
        return None
    found = read_results(place, notes)
    return _Run(
        place.name, place, config, tuple(read_records(place, notes)), tuple(one.result for one in found)
    )


def _losses(runs: Sequence[_Run]) -> Table:
    """The latest validation InfoNCE of every module."""
    rows, num_modules = [], max((run.config.model.num_modules for run in runs), default=0)
    for run in runs:
        latest: dict[int, float | None] = {}
        for record in run.records:
            if record.kind == "validation":
                latest.update({m: figures.get("nce") for m, figures in record.by_module().items()})
        step = max((record.step for record in run.records), default=0)
        weight = f"{run.config.objective.kld_weight:g}"
        nce = (cell(latest.get(module)) for module in range(num_modules))
        rows.append((run.name, run.config.model.family, weight, f"{step:,}", *nce))
    columns = ("run", "family", "kld_weight", "step", *(f"InfoNCE {m}" for m in range(num_modules)))
    return Table("Latest validation InfoNCE of each module (nats)", columns, tuple(rows))


def _probes(task: str, runs: Sequence[_Run]) -> Table:
    """Every result of a task, modules beside each other, on the same data alone."""
    rows = []
    for run in runs:
        for result in sorted(run.probes, key=_order):
            if result.task == task:
                rows.append(
                    (
                        run.name,
                        place_in(result),
                        encoder_name(result),
                        f"{result.accuracy:.1%}",
                        in_percent(result.interval_over_utterances),
                        f"{result.num_train:,}",
                        result.data_fingerprint[:8],
                    )
                )
    columns = ("run", "module", "encoder", "accuracy", "95 % over utterances", "train examples", "data")
    return Table(
        f"{task.capitalize()} probes; rows compare where data and train examples agree", columns, tuple(rows)
    )


def _order(result: ProbeResult) -> tuple[bool, int, int, bool, str]:
    depth = 10**6 if result.layer is None else result.layer
    return result.module is None, result.module or 0, depth, result.encoder in BASELINES, encoder_name(result)
