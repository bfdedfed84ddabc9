"""torch's SummaryWriter over event files whose loss ends no run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from torch.utils.tensorboard.writer import FileWriter, SummaryWriter

from vgim.runs.event_file import EventFile, refuse_loss


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
    return EventBoard(folder, refuse_loss)


class _EventFileWriter(FileWriter):
    def __init__(self, folder: Path, suffix: str, on_lost: Callable[[str], None]) -> None:
        self.event_writer = EventFile(folder, on_lost, suffix)
