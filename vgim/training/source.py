"""Reads the modules of the run that a run is attached to, while that run may still train.

The source is only read, and without a claim. Its newest checkpoint may be deleted or replaced at any instant, so that a
checkpoint counts once its weights are read whole, with the hash that its state names.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vgim.errors import CheckpointError, StorageError
from vgim.runs.checkpoint import Checkpoint
from vgim.runs.checkpoint_scan import TO_LOAD, ScannedCheckpoint, scan_checkpoints
from vgim.storage import Location

if TYPE_CHECKING:
    from torch import Tensor

LOCAL_POLL_S, REMOTE_POLL_S = 1.0, 10.0
"""Seconds between two looks for a newer checkpoint, on local storage and elsewhere."""


@dataclass(frozen=True)
class SourceModules:
    """Weights of a source's modules at one of its steps."""

    step: int
    checkpoint: Checkpoint
    weights: Mapping[str, Tensor]
    """Parameters and buffers by name, on the CPU."""
    written_at: float
    """When the checkpoint was complete, in seconds since 1970."""


def read_newest(source: Location, *, newer_than: int = -1) -> SourceModules | None:
    """Read the weights of a source's newest whole checkpoint; None if it has none newer than a step.

    Raises:
        StorageError: The source cannot be read.
        CheckpointError: No checkpoint can be used, and one is damaged.
    """
    return _read(_scanned(source), newer_than)


def _scanned(source: Location) -> list[ScannedCheckpoint]:
    """Checkpoints of a source whose files have their sizes, newest first."""
    readable = reversed(scan_checkpoints(source).readable.values())
    return [scanned for scanned in readable if scanned.damage(TO_LOAD) is None]


def _read(newest_first: list[ScannedCheckpoint], newer_than: int) -> SourceModules | None:
    failure: CheckpointError | None = None
    for scanned in newest_first:
        if scanned.state.step <= newer_than:
            break
        try:
            checkpoint = Checkpoint.open(scanned.location)
            weights = checkpoint.weights()
        except CheckpointError as error:  # damaged, or deleted since by its run: the one before may be there
            failure = failure or error
            continue
        return SourceModules(
            checkpoint.state.step, checkpoint, weights, written_at=scanned.state_mtime_ns / 1e9
        )
    if failure is not None:
        raise failure
    return None


class SourceFollower:
    """Looks for newer checkpoints of a source in a thread of its own, and reads them; training never waits for it.

    At most one checkpoint is held: the thread looks no further until it is used.

    Args:
        source: Folder of the run.
        step: Step of the checkpoint whose modules are used at first.
        shapes: Shape of each tensor that is replaced, by name. A checkpoint without them is not used.
    """

    def __init__(self, source: Location, step: int, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._source, self._shapes = source, shapes
        self._poll_s = LOCAL_POLL_S if source.is_local else REMOTE_POLL_S
        self.step = step
        """Step of the checkpoint whose modules are used."""
        self.newest_step = step
        """Step of the newest checkpoint that was seen."""
        self._written_at: float | None = None
        self._ready: SourceModules | None = None
        self._trouble, self._told = "", ""
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="source", daemon=True)

    def start(self) -> None:
        """Start to look."""
        self._thread.start()

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    @property
    def ready_step(self) -> int:
        """Step of a newer checkpoint that is read and waits to be used; 0 if there is none."""
        ready = self._ready
        return 0 if ready is None else ready.step

    def take(self, step: int) -> SourceModules:
        """The checkpoint of `ready_step`, which is used from now on."""
        with self._lock:
            ready = self._ready
            assert ready is not None
            assert ready.step == step  # it is held until it is taken
            self._ready, self.step, self._written_at = None, step, ready.written_at
        return ready

    def age_s(self) -> float | None:
        """Seconds since the checkpoint in use was written; None where its run has deleted it before it was seen."""
        return None if self._written_at is None else max(0.0, time.time() - self._written_at)

    def new_trouble(self) -> str | None:
        """Why the source cannot be followed now, in words, the first time that it is asked for; else None."""
        trouble = self._trouble
        if trouble == self._told:
            return None
        self._told = trouble
        return trouble or None

    def look(self) -> None:
        """Look once, and read a newer checkpoint if there is one."""
        try:
            found = _scanned(self._source)
            if not found:
                raise CheckpointError(f"{self._source.uri} has no complete checkpoint any more")
            self.newest_step = found[0].state.step
            if self._written_at is None:
                times = {scanned.state.step: scanned.state_mtime_ns / 1e9 for scanned in found}
                self._written_at = times.get(self.step)
            if self._ready is None and (newer := _read(found, self.step)) is not None:
                self._refuse_other_shapes(newer)
                with self._lock:
                    self._ready = newer
            self._trouble = ""
        except (CheckpointError, StorageError) as error:  # the next look may succeed
            self._trouble = str(error)

    def _refuse_other_shapes(self, newer: SourceModules) -> None:
        found = {name: tuple(tensor.shape) for name, tensor in newer.weights.items()}
        wrong = [name for name, shape in self._shapes.items() if found.get(name) != shape]
        if wrong:
            raise CheckpointError(
                f"{newer.checkpoint.location.uri} has other tensors than its run had, {wrong[0]} first"
            )

    def _follow(self) -> None:
        while True:
            self.look()
            if self._closed.wait(self._poll_s):
                return
