"""Summaries of runs, for `vgim runs` and `vgim.list_runs`."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from vgim.claims.claim import is_held
from vgim.claims.process import is_python_since
from vgim.claims.record import ClaimFile, newest_claim
from vgim.errors import StorageError, VgimError
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.claim import is_claim_of
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.layout import RECORD
from vgim.runs.metrics import MetricsRecord, damaged_lines_in_words, read_metrics_file
from vgim.storage import Location
from vgim.text import MISSING, align_columns, format_number

SILENT_SECONDS = 300.0  # a running run writes a record more often than this, or has died


@dataclass(frozen=True)
class RunSummary:
    """What a run's folder says about the run."""

    name: str
    uri: str
    state: str
    message: str
    family: str
    kld_weight: float
    """`objective.kld_weight`; the weight that training starts with under a target rate."""
    workers: int | str
    """`cluster.workers`: a number, or a range such as 2..8."""
    world_size: int
    """Ranks that trained last; 0 before any trained, and in runs without Ray."""
    step: int
    """Optimizer steps that the metrics or the newest checkpoint know of."""
    epoch: float
    best_loss: float | None
    """Lowest validation loss, averaged over the modules that were trained last; None before the first validation."""
    nce: tuple[float | None, ...]
    """InfoNCE of each module at the last validation, in nats."""
    checkpoints: int
    updated: str
    target_rate: float = 0.0
    """`objective.target_rate` in nats a frame; 0 for a KL weight that stays."""
    damaged_lines: int = 0
    """Lines of `metrics.jsonl` that cannot be read, and are left out here."""

    def __fspath__(self) -> str:
        """The run's folder, so that a summary stands wherever a run's path does."""
        return self.uri


def list_runs(storage: str) -> list[RunSummary]:
    """Summarize the runs in a folder, by name; the folder of one run gives that run.

    Raises:
        StorageError: The folder is missing or cannot be read.
    """
    root = Location(storage)
    if not root.exists():
        raise StorageError(f"there is no folder {root.uri}; give the storage.root of some runs")
    if root.child(RECORD).exists():
        return [summarize_run(RunFolder(root))]
    found = (_summarize_or_report(RunFolder(root.child(name))) for name in root.list())
    return [summary for summary in found if summary is not None]


def _summarize_or_report(folder: RunFolder) -> RunSummary | None:
    """Summarize a run, None for a folder without one.

    A run that cannot be read is listed as `unreadable` and hides no other run, and so is a folder of which nobody can
    say whether it is a run.
    """
    try:
        return summarize_run(folder) if folder.location.child(RECORD).exists() else None
    except VgimError as error:
        return RunSummary(
            name=folder.location.name,
            uri=folder.location.uri,
            state="unreadable",
            message=str(error),
            family="-",
            kld_weight=0.0,
            workers=0,
            world_size=0,
            step=0,
            epoch=0.0,
            best_loss=None,
            nce=(),
            checkpoints=0,
            updated="",
        )


def summarize_run(folder: RunFolder) -> RunSummary:
    """Summarize a run from its record and metrics."""
    record = folder.record()
    assert record is not None
    file = read_metrics_file(folder.location)
    metrics = file.records
    validations = [r for r in metrics if r["kind"] == "validation"]
    if (
        validations
    ):  # losses of different modules do not compare, and some schedules validate one after the other
        validations = [v for v in validations if _modules(v) == _modules(validations[-1])]
    last_time, last_step = (metrics[-1].get("time") or 0.0, metrics[-1]["step"]) if metrics else (0.0, 0)
    checkpoints = complete_checkpoints(folder.location)
    if checkpoints:  # a run that was stopped has one after its last record
        last_step = max(last_step, checkpoints[-1].state.step)
    epochs = [r["epoch"] for r in metrics if r.get("epoch") is not None]
    return RunSummary(
        name=folder.location.name,  # commands find a run that was copied or renamed by its folder
        uri=folder.location.uri,
        state=current_state(folder.location, record, last_time),
        message=record.message,
        family=record.family,
        kld_weight=record.kld_weight,
        target_rate=record.target_rate,
        workers=record.workers,
        world_size=record.world_size,
        step=int(last_step),
        epoch=max(epochs, default=0),
        best_loss=min((v["loss"] for v in validations if v.get("loss") is not None), default=None),
        nce=_nce(validations[-1]) if validations else (),
        checkpoints=len(checkpoints),
        updated=record.updated,
        damaged_lines=file.num_damaged,
    )


def current_state(run: Location, record: RunRecord, last_time: float) -> str:
    """The state of a run now: `interrupted` for a run that was killed, whose record still says `running`.

    The run's claim decides. A run that an older vgim drives is judged by its record.

    Args:
        run: The run's folder.
        last_time: When the run last wrote metrics, in seconds since 1970.
    """
    driver = record.driver
    if driver is None:
        return record.state
    newest = newest_claim(run)
    if newest is not None and newest.record is not None:
        if _is_live(newest):
            return "running"
        if is_claim_of(newest, driver):
            return "interrupted"
    latest = max(last_time, _updated(record))
    silent = time.time() - latest > SILENT_SECONDS
    ended = record.host == socket.gethostname() and not is_python_since(record.pid, latest)
    return "interrupted" if ended or silent else "running"


def _is_live(claim: ClaimFile) -> bool:
    """Whether a claim is held, as far as a reader can tell: by its age where its process can't be seen."""
    record = claim.record
    assert record is not None
    alive = is_held(record)
    if alive is None:
        written = max(record.renewed, claim.path.modified_at() or 0.0)
        return time.time() - written < max(record.lease_s, SILENT_SECONDS)
    return alive


def format_runs(runs: Sequence[RunSummary], width: int | None = None) -> str:
    """The table that `vgim runs` prints, cut into parts that fit the terminal's width."""
    header = ("run", "state", "family", "kld_weight", "workers", "step", "epoch", "best loss", "nce", "ckpts")
    rows = [
        (
            run.name,
            run.state,
            run.family,
            f"{run.target_rate:g} nats" if run.target_rate else f"{run.kld_weight:g}",
            _workers(run),
            str(run.step),
            f"{run.epoch:.4g}",
            format_number(run.best_loss, ".4f"),
            " ".join(format_number(nce, ".3f") for nce in run.nce) or MISSING,
            str(run.checkpoints),
        )
        for run in runs
    ]
    return "\n".join([align_columns([header, *rows], num_left=3, width=width), *_notes(runs)])


def _workers(run: RunSummary) -> str:
    """`4`; for a range `3 of 2..8`, once workers have trained."""
    elastic = isinstance(run.workers, str) and run.world_size > 0
    return f"{run.world_size} of {run.workers}" if elastic else str(run.workers)


def format_decoders(decoders: Sequence[RunSummary], width: int | None = None) -> str:
    """The table that `vgim decode list` prints, cut into parts that fit the terminal's width."""
    header = ("decoder", "state", "step", "epoch", "best loss", "ckpts")
    rows = [
        (
            run.name,
            run.state,
            str(run.step),
            f"{run.epoch:.4g}",
            format_number(run.best_loss, ".4g"),
            str(run.checkpoints),
        )
        for run in decoders
    ]
    return "\n".join([align_columns([header, *rows], num_left=2, width=width), *_notes(decoders)])


def _notes(runs: Sequence[RunSummary]) -> list[str]:
    """A line for each run that cannot be read, or only in part."""
    return [f"{run.name}: {run.message}" for run in runs if run.state == "unreadable"] + [
        f"{run.name}: {damaged_lines_in_words(run.damaged_lines)}" for run in runs if run.damaged_lines
    ]


def _modules(validation: MetricsRecord) -> list[int]:
    return [module.get("module", number) for number, module in enumerate(validation["modules"])]


def _nce(validation: MetricsRecord) -> tuple[float | None, ...]:
    return tuple(module.get("nce") for module in validation["modules"])


def _updated(record: RunRecord) -> float:
    """When a record was written, in seconds since 1970; long ago for a text that is no time."""
    try:
        return datetime.fromisoformat(record.updated).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0
