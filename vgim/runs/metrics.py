"""Reads `metrics.jsonl`, which a run writes while it trains: one JSON object a line.

Kinds of records: `train` (every `log_every_steps`), `validation` (per epoch), `event` (a sentence for a reader).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from vgim.jsonl import parse_object
from vgim.runs.layout import METRICS
from vgim.storage import Location

CROPS_PER_S_IN_0_1 = "utterances_per_s"  # key of `crops_per_s` in records that vgim 0.1 wrote

MetricsRecord = dict[str, Any]


def parse_record(line: str) -> MetricsRecord | None:
    """The record of a line of `metrics.jsonl`; None for a line that a killed writer left half-written."""
    record = parse_object(line)
    if record is None or "step" not in record or "kind" not in record:
        return None
    if CROPS_PER_S_IN_0_1 in record:
        record["crops_per_s"] = record.pop(CROPS_PER_S_IN_0_1)
    return record


def read_metrics(run: Location) -> Iterator[MetricsRecord]:
    """The records of a run's `metrics.jsonl`, oldest first; none if the run has no such file."""
    path = run.child(METRICS)
    lines = path.read_text().splitlines() if path.exists() else []
    return (record for line in lines if (record := parse_record(line)) is not None)


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
