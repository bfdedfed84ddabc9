"""A run's `metrics.jsonl` as typed records, whatever state the file is in."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.errors import VgimError
from vgim.report.notes import Notes
from vgim.runs.layout import METRICS
from vgim.storage import Location

Figures = dict[str, float | None]


class ParsedRecord(BaseModel):
    """A line of metrics.jsonl: what the page shows of it. Losses in nats."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: Literal["train", "validation", "event"]
    step: int
    time: float = 0.0
    """Seconds since 1970."""
    epoch: float | None = None
    steps_per_s: float | None = None
    loss: float | None = None
    message: str = ""
    modules: tuple[Figures, ...] = ()

    def by_module(self) -> dict[int, Figures]:
        """Figures of each module; those of a record without indices count from 0."""
        return {int(figures.get("module") or number): figures for number, figures in enumerate(self.modules)}


def read_records(run: Location, notes: Notes) -> list[ParsedRecord]:
    """The records that can be read, oldest first; lines that cannot are counted in a note."""
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
            records.append(ParsedRecord.model_validate_json(line))
        except ValidationError:
            num_damaged += 1
    if num_damaged:
        notes.warn(
            f"{notes.short(path)}: {num_damaged} of {len(records) + num_damaged} lines can't be read and are left out"
        )
    return records


def stepping_seconds(records: list[ParsedRecord]) -> float | None:
    """Time spent taking steps, without validation, checkpoints and pauses between launches."""
    seconds, before = 0.0, 0
    for record in records:
        if record.kind == "train" and record.steps_per_s:
            seconds += max(record.step - before, 0) / record.steps_per_s
            before = record.step
    return seconds or None
