"""A run's `metrics.jsonl` as typed lines. Damaged lines are left out, so that a page can be made of any run."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.errors import VgimError
from vgim.report.notes import Notes
from vgim.runs.layout import METRICS
from vgim.storage import Location

Metrics = dict[str, float | None]


class MetricsLine(BaseModel):
    """The fields of a line of metrics.jsonl that the page shows. Losses are in nats."""

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    kind: Literal["train", "validation", "event"]
    step: int
    time: float = 0.0
    """Seconds since 1970."""
    epoch: float | None = None
    steps_per_s: float | None = None
    loss: float | None = None
    message: str = ""
    modules: tuple[Metrics, ...] = ()

    def by_module(self) -> dict[int, Metrics]:
        """The metrics of each module by its index; entries without an index are numbered from 0."""
        return {int(metrics.get("module") or number): metrics for number, metrics in enumerate(self.modules)}


def read_records(run: Location, notes: Notes) -> list[MetricsLine]:
    """The readable lines, oldest first; a note counts the damaged ones."""
    path = run.child(METRICS)
    try:
        if not path.exists():
            return []
        text = path.read_bytes().decode(errors="replace")
    except VgimError as error:
        notes.damage(path, str(error))
        return []
    records, num_damaged = [], 0
    for line in text.splitlines():
        try:
            records.append(MetricsLine.model_validate_json(line))
        except ValidationError:
            num_damaged += 1
    if num_damaged:
        notes.warn(
            f"{notes.short(path)}: {num_damaged} of {len(records) + num_damaged} lines can't be read and are left out"
        )
    return records


def seconds_in_steps(records: list[MetricsLine]) -> float | None:
    """Time in optimizer steps, without validation, checkpoints and pauses between launches."""
    seconds, before = 0.0, 0
    for record in records:
        if record.kind == "train" and record.steps_per_s:
            seconds += max(record.step - before, 0) / record.steps_per_s
            before = record.step
    return seconds or None
