"""TensorBoard's event files, whose loss ends no run; importable without torch.

torch's own writer writes in a thread. On a full disk that thread dies with a traceback, and its error is raised by
some later call, closing included. This one writes at once, into a buffer, and is given up at the first error.
"""

from __future__ import annotations

import itertools
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from vgim.errors import StorageError
from vgim.storage.causes import reason_and_fix

FLUSH_SECONDS = 10.0
_numbers = itertools.count()


def refuse_loss(message: str) -> None:
    """What to do about lost events of a folder that is copied to storage afterwards, which needs all of its events.

    Raises:
        StorageError: Always.
    """
    raise StorageError(f"{message}; free some space or choose another TMPDIR")


class EventFile:
    """One event file, which a full disk, a read-only file system or a deleted folder do not stop.

    It has what torch's FileWriter calls of TensorBoard's EventFileWriter.

    Args:
        folder: Folder of the event files.
        on_lost: Called once, with what failed and why, when events cannot be written. From then on they are dropped.
        suffix: End of the file's name.
    """

    def __init__(self, folder: Path, on_lost: Callable[[str], None], suffix: str = "") -> None:
        # TensorBoard reads files in the order of their names: 9 must come before 10 in the same second.
        name = f"{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_numbers):06d}{suffix}"
        self._path = folder / f"events.out.tfevents.{name}"
        self._on_lost = on_lost
        self._flushed = time.monotonic()
        self._file: IO[bytes] | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb")
        except OSError as error:
            self._lose(error)
        source = SourceMetadata(writer="vgim.runs.event_file")
        self.add_event(Event(wall_time=time.time(), file_version="brain.Event:2", source_metadata=source))
        self.flush()

    def get_logdir(self) -> str:
        return str(self._path.parent)

    def add_event(self, event: Any) -> None:
        if self._file is None:
            return
        try:
            RecordWriter(self._file).write(event.SerializeToString())
        except OSError as error:
            self._lose(error)
        if time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def add_summary(self, summary: Any, step: int | None = None) -> None:
        self.add_event(Event(wall_time=time.time(), step=step, summary=summary))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.add_summary(Summary(value=[Summary.Value(tag=tag, simple_value=value)]), step)

    def flush(self) -> None:
        self._flushed = time.monotonic()
        if self._file is None:
            return
        try:
            self._file.flush()
        except OSError as error:
            self._lose(error)

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self.flush()
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what is in its buffer cannot be written either
                file.close()
        reason, _ = reason_and_fix(error, is_remote=False)
        self._on_lost(f"TensorBoard's events cannot be written to {self._path} ({reason})")
