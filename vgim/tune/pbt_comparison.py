"""The last comparison of a population, on storage: a sweep that was killed carries its decisions out.

SWEEP/comparison.json  the epoch, and which member continues from which checkpoint, with which values
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.errors import CheckpointError
from vgim.runs.checkpoint import Checkpoint, checkpoint_location, complete_checkpoints
from vgim.runs.checkpoint_scan import TO_CONTINUE
from vgim.sealed_json import SealBroken, dump_sealed, load_sealed
from vgim.storage import Location
from vgim.tune.pbt_exploit import exploit, finish_takeover
from vgim.tune.pbt_lineage import read_lineage
from vgim.tune.trial_driver import wait_for_previous_launch
from vgim.tune.trials import Trial, with_values

COMPARISON = "comparison.json"


class Exploitation(BaseModel):
    """A decision that a member continues from another member's checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    run: str
    """Folder of the other member's run."""
    step: int
    """Step of the checkpoint."""
    values: dict[str, Any]
    """Values with which the member continues."""

    @property
    def source(self) -> Location:
        """The checkpoint's folder."""
        return checkpoint_location(Location(self.run), self.step)


class Comparison(BaseModel):
    """`comparison.json`: written after each comparison, before a member goes on."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    schema_version: Literal[1] = 1
    epoch: int = 0
    """Epoch at which the members were compared; 0 before the first comparison."""
    exploitations: dict[str, Exploitation] = {}
    """Decisions by the member's id."""


def write_comparison(sweep: Location, comparison: Comparison) -> None:
    """Write `comparison.json` into a sweep's folder."""
    sweep.child(COMPARISON).write_bytes_atomic(dump_sealed(json.loads(comparison.model_dump_json())))


def read_comparison(sweep: Location, log: Callable[[str], None] = print) -> Comparison:
    """The last comparison of a population; one of epoch 0 if there was none, or if its file is damaged.

    Args:
        log: Prints a line on a damaged file.
    """
    path = sweep.child(COMPARISON)
    if not path.exists():
        return Comparison()
    try:
        return Comparison.model_validate(load_sealed(path.read_bytes())[0])
    except (SealBroken, ValidationError):
        log(f"warning: {path.uri} is damaged; the members are compared again where they stand")
        return Comparison()


def carry_out(comparison: Comparison, members: Sequence[Trial], log: Callable[[str], None] = print) -> None:
    """Carry out the decisions of a comparison that the members had not carried out when the sweep was killed.

    Args:
        log: Prints a line for each decision.
    """
    for member in members:
        decision = comparison.exploitations.get(member.id)
        if decision is None:
            continue
        wait_for_previous_launch(member)
        finish_takeover(member.run)
        if _is_done(decision, member, comparison.epoch):
            continue
        chosen = with_values(member, decision.values)
        try:
            source = Checkpoint.open(decision.source)
            source.check_files(TO_CONTINUE)
            log(f"{member.id} {exploit(member.run, source, chosen.config, list(decision.values))}")
        except CheckpointError as error:
            log(f"warning: {member.id} continues from its own checkpoint: {error}")


def _is_done(decision: Exploitation, member: Trial, epoch: int) -> bool:
    segments, checkpoints = read_lineage(member.run).segments, complete_checkpoints(member.run)
    if checkpoints and checkpoints[-1].state.epoch > epoch:
        return True
    last = segments[-1] if segments else None
    return (
        last is not None
        and (last.run, last.taken_from) == (member.run.name, decision.source.uri)
        and bool(checkpoints)
    )
