"""Reads `metrics.jsonl`, which a run writes while it trains: one JSON object a line.

Kinds of records: `train` (every `log_every_steps`), `validation` (per epoch), `event` (a sentence for a reader).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vgim.jsonl import parse_object, split_lines
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.layout import METRICS
from vgim.storage import Location
from vgim.text import plural

CROPS_PER_S_IN_0_1 = "utterances_per_s"  # key of `crops_per_s` in records that vgim 0.1 wrote

_INHERITED_IN_0_1 = "it has modules 0 to "  # how the event of a deeper run begins that vgim 0.1 wrote

MetricsRecord = dict[str, Any]

_NUMBERS = (
    "time",
    "epoch",
    "loss",
    "last_step",
    "learning_rate",
    "kld_weight",
    "steps_per_s",
    "crops_per_s",
    "data_wait_s",
    "compute_s",
    "overhead_s",
    "crops",
    "inherited_steps",
)
"""Keys of a record whose values are numbers, or null for a number that was not finite."""
_LARGEST = 2.0**63


@dataclass(frozen=True)
class MetricsFile:
    """What a run's `metrics.jsonl` holds."""

    records: list[MetricsRecord]
    """Oldest first."""
    num_damaged: int = 0
    """Lines that are no records. A last line without its end counts only if no record begins so: it may still be being
    written."""


def parse_record(line: str | bytes) -> MetricsRecord | None:
    """The record of a line of `metrics.jsonl`; None for a line that is none: half-written, damaged, or foreign."""
    record = parse_object(line)
    if record is None:
        return None
    if CROPS_PER_S_IN_0_1 in record:
        record["crops_per_s"] = record.pop(CROPS_PER_S_IN_0_1)
    return record if _is_record(record) else None


def _is_record(record: MetricsRecord) -> bool:
    step, kind = record.get("step"), record.get("kind")
    if not isinstance(kind, str) or type(step) is not int or not 0 <= step < _LARGEST:
        return False
    if not all(_is_number(record[name]) for name in _NUMBERS if name in record):
        return False
    if kind == "event":
        return isinstance(record.get("message"), str)
    if kind in ("train", "validation"):
        return record.get("epoch") is not None and _are_modules(record.get("modules"))
    return True


def _are_modules(modules: object) -> bool:
    return isinstance(modules, list) and all(
        isinstance(module, dict)
        and type(module.get("module", 0)) is int
        and all(_is_number(value) for value in module.values())
        for module in modules
    )


def _is_number(value: object) -> bool:
    return value is None or (
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    )


def read_metrics_file(run: Location) -> MetricsFile:
    """The records of a run's `metrics.jsonl`, and how many lines are none; empty if the run has no such file.

    Raises:
        StorageError: The file cannot be read.
    """
    path = run.child(METRICS)
    if not path.exists():
        return MetricsFile([])
    lines, rest = split_lines(path.read_bytes())
    records = [record for line in lines if (record := parse_record(line)) is not None]
    num_damaged = len(lines) - len(records)
    if (last := parse_record(rest)) is not None:
        records.append(last)
    elif rest and not rest.startswith(b"{"):  # no beginning of a record that is being written
        num_damaged += 1
    return MetricsFile(records, num_damaged)


def read_metrics(run: Location) -> Iterator[MetricsRecord]:
    """The records of a run's `metrics.jsonl`, oldest first; none if the run has no such file.

    Raises:
        StorageError: The file cannot be read.
    """
    return iter(read_metrics_file(run).records)


def damaged_lines_in_words(num_damaged: int) -> str:
    """A clause on lines that are left out: `2 lines of metrics.jsonl cannot be read and are left out`."""
    are = "cannot be read and is left out" if num_damaged == 1 else "cannot be read and are left out"
    return f"{plural(num_damaged, 'line')} of {METRICS} {are}"


def append_event(run: Location, message: str) -> None:
    """Append an `event` record while no rank writes, at the newest checkpoint's step, from which training goes on."""
    path = run.child(METRICS)
    checkpoints = complete_checkpoints(run)
    step = checkpoints[-1].state.step if checkpoints else 0
    record = {"kind": "event", "step": step, "message": message, "time": round(time.time(), 3)}
    before = path.read_bytes() if path.exists() else b""
    whole_lines = before[: before.rfind(b"\n") + 1]  # a killed rank may have left half a line
    path.write_bytes_atomic(whole_lines + json.dumps(record).encode() + b"\n")


def finite_record(record: MetricsRecord) -> MetricsRecord:
    """The record with None for metrics that are not finite, in its modules too."""
    clean = {k: finite_or_none(v) if isinstance(v, float) else v for k, v in record.items()}
    return {
        **clean,
        "modules": [{k: finite_or_none(v) for k, v in module.items()} for module in record["modules"]],
    }


def finite_or_none(value: float | None) -> float | None:
    """The value, or None for NaN and infinity, which JSON cannot hold and a plot should not show."""
    return value if value is not None and math.isfinite(value) else None


def inherited_steps(records: Iterable[MetricsRecord]) -> int:
    """Optimizer steps in a run's records that a shallower run took; 0 for a run that started afresh."""
    return max((_inherited_steps(record) for record in records if record["kind"] == "event"), default=0)


def _inherited_steps(event: MetricsRecord) -> int:
    if "inherited_steps" in event:
        return int(event["inherited_steps"])
    return int(event["step"]) if event["message"].startswith(_INHERITED_IN_0_1) else 0
