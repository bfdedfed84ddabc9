"""Progress as JSON lines, for a log pipeline: `VGIM_LOG_FORMAT=json`."""

from __future__ import annotations

from typing import Any

from vgim.cli.plain_lines import PlainLines
from vgim.cli.stages import OpenStage
from vgim.logs import json_line

STEP = "step"
"""Unit of the stage that trains: what it has done is the step of the run."""


class JsonLines(PlainLines):
    """As `PlainLines`, each line an object: time, level, message, and run and step as far as they are known."""

    def message(self, line: str) -> None:
        """Print a message."""
        self._write(json_line(line))

    def print_stage(self, stage: OpenStage) -> None:
        """Print how far a stage is, with its numbers."""
        numbers: dict[str, Any] = {"doing": stage.title, "elapsed_s": round(stage.elapsed_s, 1)}
        if stage.unit:
            numbers |= {"done": stage.done, "total": stage.total, "unit": stage.unit}
        if stage.unit == STEP:
            numbers[STEP] = stage.done
        self._write(json_line(stage.as_line(), "info", numbers))

    def _write(self, line: str) -> None:
        with self._lock:
            print(line, file=self._out, flush=True)
