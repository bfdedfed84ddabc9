"""TensorBoard's event files, whose loss ends no run.

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

from tensorboard.compat.proto.event_pb2 import Event, SessionLog, SourceMetadata
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from vgim.errors import StorageError
from vgim.storage.causes import reason_and_fix

FLUSH_SECONDS = 10.0
_numbers = itertools.count()


class EventBoard(SummaryWriter):
    """A SummaryWriter that a full disk, a read-only file system or a deleted folder do not stop.

    Args:
        folder: Folder of the event files.
        on_lost: Called once, with what failed and why, when events cannot be written. From then on they are dropped.
        purge_step: Step from which TensorBoard forgets what earlier files hold.
        filename_suffix: End of the event file's name.
    """

    def __init__(
        self,
        folder: Path,
        on_lost: Callable[[str], None],
        *,
        purge_step: int | None = None,
        filename_suffix: str = "",
    ) -> None:
        self._on_lost = on_lost
        super().__init__(str(folder), purge_step=purge_step, filename_suffix=filename_suffix)

    def _get_file_writer(self) -> FileWriter:
        if self.file_writer is not None:
            return self.file_writer
        writer = _EventFileWriter(Path(self.log_dir), self.filename_suffix, self._on_lost)
        self.file_writer, self.all_writers = writer, {self.log_dir: writer}  # type: ignore[assignment]
        if self.purge_step is not None:
            writer.add_event(Event(step=self.purge_step, session_log=SessionLog(status=SessionLog.START)))
            self.purge_step = None
        return writer


def strict_board(folder: Path) -> EventBoard:
    """A board for a folder that is copied to storage afterwards, which needs all of its events.

    Raises:
        StorageError: Events cannot be written, now or at a later call of the board.
    """

    def refuse(message: str) -> None:
        raise StorageError(f"{message}; free some space or choose another TMPDIR")

    return EventBoard(folder, refuse)


class _EventFileWriter(FileWriter):
    def __init__(self, folder: Path, suffix: str, on_lost: Callable[[str], None]) -> None:
        self.event_writer = _EventFile(folder, suffix, on_lost)


class _EventFile:
    """One event file; what torch's FileWriter calls of TensorBoard's EventFileWriter."""

    def __init__(self, folder: Path, suffix: str, on_lost: Callable[[str], None]) -> None:
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
        source = SourceMetadata(writer="vgim.runs.event_board")
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

    def flush(self) -> None:
        self._flushed = time.monotonic()
        if self._file is None:
            return
        try:
            self._file.flush()
        except OSError as error:
            self._lose(error)

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
