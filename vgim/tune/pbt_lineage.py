"""The history of a population member's weights, `lineage.json`, and the values that it trains with now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vgim.config import RunConfig
from vgim.config.keys import dump, flatten
from vgim.runs.folder import RunFolder
from vgim.runs.layout import LINEAGE
from vgim.runs.record_file import read_record
from vgim.storage import Location
from vgim.tune.trials import Trial, with_values

TAKEOVER, READY = "takeover", "ready.json"
"""Folder of a new checkpoint and its history in a member's run, and the file that is written into it last."""


class LineageSegment(BaseModel):
    """Consecutive steps that were trained with the same values; it ends where the next segment starts."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    step: int
    epoch: int
    """Epoch of the segment's first step."""
    run: str
    """Name of the run that trained the segment's first step."""
    taken_from: str
    """Checkpoint of another run that the segment started from; empty if the run started afresh."""
    values: dict[str, Any]


class Lineage(BaseModel):
    """`lineage.json`: the history of a run's weights."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True, defer_build=True
    )

    schema_version: Literal[1] = 1
    segments: tuple[LineageSegment, ...] = Field((), alias="stretches")
    """Oldest first."""


def read_lineage(run: Location) -> Lineage:
    """A run's lineage; without segments if the run never was a member of a population.

    Raises:
        StorageError: The lineage is damaged.
    """
    path = run.child(LINEAGE)
    if not path.exists():
        return Lineage()
    fix = f"restore it, or delete the member's folder {run.uri}, which then starts afresh"
    return read_record(path, Lineage, problem="is damaged", fix=fix)


def is_pending(run: Location) -> bool:
    """Whether a takeover of `run` was decided and written, and then interrupted."""
    return run.child(TAKEOVER, READY).exists()


def with_current_values(member: Trial) -> Trial:
    """A member with the values that its run trains with from here on; perturbations change them."""
    values = current_values(member.run, member.values)
    return member if values is None else with_values(member, values)


def current_values(run: Location, keys: Iterable[str]) -> dict[str, Any] | None:
    """The values that a member trains with from here on; None for a member that has not begun."""
    where = run.child(TAKEOVER) if is_pending(run) else run
    lineage = read_lineage(where)
    if lineage.segments:
        return {key: lineage.segments[-1].values[key] for key in keys}
    config = RunFolder(where).config()
    return None if config is None else values_of(config, keys)


def values_of(config: RunConfig, keys: Iterable[str]) -> dict[str, Any]:
    """The values of some keys of a config."""
    flat = flatten(dump(config))
    return {key: flat[key] for key in keys}
