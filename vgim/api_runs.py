"""Runs as `train` and `list_runs` return them: their summary, and the verdict on them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from vgim.runs.listing import RunSummary

if TYPE_CHECKING:
    from vgim.verdict.verdict import Verdict


@dataclass(frozen=True)
class Run(RunSummary):
    """What a run's folder said about the run when it was read. It stands wherever a run's path does."""

    @property
    def verdict(self) -> Verdict | None:
        """What the run's figures mean now, read from its folder: `print(run.verdict)`. None if the run is gone.

        `level`, `sentences`, `next` (the command to run next), and for each module whether it learned, in `modules`.

        Raises:
            VgimError: The config or the metrics cannot be read.
        """
        from vgim.storage import Location
        from vgim.verdict.judge import read_verdict

        return read_verdict(Location(self.uri))


def as_run(summary: RunSummary) -> Run:
    """A summary as a run of the Python interface."""
    return Run(**{field.name: getattr(summary, field.name) for field in fields(summary)})
