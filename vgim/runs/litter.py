"""Removes what a killed process left in a run's folder: half-written files, and checkpoints without a state."""

from __future__ import annotations

from vgim.runs.checkpoint_scan import scan_checkpoints
from vgim.runs.layout import CHECKPOINTS, CONFIG, METRICS, RECORD
from vgim.storage import TEMPORARY_MARK, Location

OWN_FILES = (CONFIG, RECORD, METRICS)
"""Files in the run's folder that only its training writes. Reports and results may be written at the same time."""


def sweep_litter(run: Location) -> None:
    """Delete half-written files of training, and the folders of checkpoints that were being written or deleted.

    Only the process that drives the run may call it, after it has claimed the folder.

    Raises:
        StorageError: The storage cannot be read or written.
    """
    for folder in scan_checkpoints(run).unfinished:
        folder.delete()
    if not run.is_local:  # files appear whole on other storage
        return
    own = tuple(f".{name}{TEMPORARY_MARK}" for name in OWN_FILES)
    for entry in run.walk(recursive=False):
        if entry.path.startswith(own):
            run.child(entry.path).delete()
    checkpoints = run.child(CHECKPOINTS)
    for entry in checkpoints.walk():
        if TEMPORARY_MARK in entry.path.rpartition("/")[2] and not entry.is_dir:
            checkpoints.child(entry.path).delete()
