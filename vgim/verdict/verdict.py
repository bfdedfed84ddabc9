"""The verdict on a run as typed records, which pages, tables and JSON outputs show."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Level = Literal["good", "open", "bad"]
"""good: as one wants it; open: not known yet, or not finished; bad: something is wrong."""
ModuleState = Literal["learned", "begun", "unsure", "chance", "collapsed", "untrained", "given", "not_finite"]
"""See `vgim.verdict.learning`."""
About = Literal["state", "learning", "steps", "kl_cost", "kl_weight", "trend", "data", "probe", "latents"]


class VerdictRecord(BaseModel):
    """Base of the records of a verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ModuleVerdict(VerdictRecord):
    """Whether a module learned; `vgim.verdict.learning` has the rule."""

    module: int
    state: ModuleState
    nce: float | None
    """InfoNCE in nats that the state is judged by; None if none is recorded, or it is not finite."""
    split: Literal["validation", "training"] | None
    """What InfoNCE was measured on; None for a module without any."""
    num_crops: int | None
    """Crops that InfoNCE is a mean over; None if that is unknown."""
    needed: float | None
    """InfoNCE in nats below which the module counts as one that learned."""
    active_units: float | None
    """Share of active units; None for a module without a posterior."""


class Finding(VerdictRecord):
    """One thing that the figures say."""

    about: About
    level: Level
    text: str
    """A sentence."""


class NextCommand(VerdictRecord):
    """The command that the figures call for."""

    purpose: str
    """Completes "next, to": what the command is for."""
    command: str
    """One line for a shell."""

    def __str__(self) -> str:
        """What to do next, and the command on a line of its own."""
        return f"next, to {self.purpose}:\n  {self.command}"


class Verdict(VerdictRecord):
    """What the figures of a run say."""

    level: Level
    """The worst level of the findings."""
    sentences: tuple[str, ...]
    """The most important findings, at most three."""
    next: NextCommand | None
    """None while the run trains, and where nothing is left to do."""
    modules: tuple[ModuleVerdict, ...]
    findings: tuple[Finding, ...]
    """All findings, the most important first."""

    def __str__(self) -> str:
        """The sentences and the next command, a line each."""
        return "\n".join([*self.sentences, *([] if self.next is None else [str(self.next)])])
