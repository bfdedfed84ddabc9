"""The way back from damaged checkpoints: the newest whole one is found, and the damaged ones are set aside.

Only the process that writes a run's checkpoints calls these functions.
"""

from __future__ import annotations

from dataclasses import dataclass

from vgim.errors import CheckpointError
from vgim.runs.checkpoint import Checkpoint, checkpoint_location, find_damage
from vgim.runs.checkpoint_scan import (
    SET_ASIDE,
    TO_CONTINUE,
    CheckpointScan,
    Damage,
    read_state,
    scan_checkpoints,
    write_index,
)
from vgim.runs.layout import CHECKPOINTS, STATE
from vgim.storage import Location
from vgim.text import plural


@dataclass(frozen=True)
class Recovery:
    """Where a run continues."""

    checkpoint: Checkpoint | None
    """The newest whole checkpoint; None for a run without checkpoints."""
    damaged: dict[int, Damage]
    """What is wrong with the other checkpoints, by step."""

    def set_aside(self) -> list[str]:
        """Rename the damaged checkpoints.

        Returns:
            A sentence on each of them: the file, what is wrong, and how many steps are lost.

        Raises:
            StorageError: The storage cannot be written.
        """
        sentences = []
        for step, damage in self.damaged.items():
            kept = set_aside(damage.folder)
            whole = self.checkpoint.state.step if self.checkpoint else 0
            if step > whole:
                lost = f"{plural(step - whole, 'step')} after step {whole} will be trained again"
            else:
                lost = "a newer one is whole, so nothing is lost"
            sentences.append(f"{damage}; {lost}; the damaged checkpoint is kept as {kept.uri}")
        return sentences


def find_recovery(run: Location) -> Recovery:
    """Find the newest whole checkpoint of a run, which reads its files; nothing is changed.

    Raises:
        CheckpointError: All checkpoints are damaged, or the newest was written by another version of vgim.
        StorageError: The storage cannot be read.
    """
    scan = scan_checkpoints(run)
    damaged = scan.all_damage(TO_CONTINUE)
    newest = None
    for step, scanned in reversed(scan.readable.items()):
        if step in damaged:
            continue
        damage = find_damage(scanned)
        if damage is None:
            newest = Checkpoint.open(scanned.location)
            break
        damaged[step] = damage
    foreign = [damage for damage in damaged.values() if damage.is_foreign]
    if foreign:
        raise CheckpointError(f"{foreign[-1]}; use that version, or another storage.name")
    if newest is None and damaged:
        raise CheckpointError(_no_whole(run, damaged))
    return Recovery(newest, dict(sorted(damaged.items())))


def written_checkpoint(run: Location, step: int) -> Checkpoint | None:
    """The whole checkpoint of a step, if there is one; a damaged one is set aside.

    Raises:
        StorageError: The storage cannot be read or written.
    """
    location = checkpoint_location(run, step)
    if not location.child(STATE).exists():
        return None
    state = read_state(location)
    if not isinstance(state, Damage):
        checkpoint = Checkpoint(location, state)
        if checkpoint.damage(TO_CONTINUE) is None:
            return checkpoint
    set_aside(location)
    return None


def set_aside(folder: Location) -> Location:
    """Rename a damaged checkpoint's folder, so that nothing takes it for a checkpoint; returns the new folder."""
    checkpoints = folder.parent
    taken, name = set(checkpoints.list()), f"{SET_ASIDE}{folder.name}"
    number = 2
    while name in taken:
        name, number = f"{SET_ASIDE}{folder.name}-{number}", number + 1
    kept = checkpoints.child(name)
    folder.move(kept)
    run = checkpoints.parent
    scan: CheckpointScan = scan_checkpoints(run)
    write_index(
        run, scan.current_index()
    )  # an index with this step would take the next write of it for damage
    return kept


def _no_whole(run: Location, damaged: dict[int, Damage]) -> str:
    newest = damaged[max(damaged)]
    others = f" and {plural(len(damaged) - 1, 'older one')}" if len(damaged) > 1 else ""
    return (
        f"{run.uri} has no whole checkpoint left: {newest}{others}; restore the file, or delete "
        f"{run.child(CHECKPOINTS).uri} to train the run from its start"
    )
