"""Follows a run's `metrics.jsonl` while it is written: each record once, and each byte read once."""

from __future__ import annotations

from contextlib import suppress

from vgim.errors import StorageError
from vgim.jsonl import split_lines
from vgim.runs.layout import METRICS
from vgim.runs.metrics import MetricsRecord, parse_record
from vgim.storage import Location

TAIL_BYTES = 256
"""Bytes before the offset that are read again, to notice that the file is another one now."""


class MetricsFollower:
    """Reads the records that are new since the last look.

    A launch may write the file anew: without the steps after its checkpoint, or with the history of another run. Such a
    file is read from its beginning once, and its records that are older than those already seen, or than the follower,
    are left out.

    Args:
        run: The run's folder.
        since: Time in seconds since the epoch, before which records are old.
    """

    def __init__(self, run: Location, since: float) -> None:
        self._path = run.child(METRICS)
        self._offset = 0
        self._tail = b""
        """What stands before the offset; empty as long as nothing was read."""
        self._seen_until = since
        with suppress(StorageError):  # else the first look reads all, and leaves out what is old
            if self._path.exists():
                with self._path.open_input() as file:
                    end = int(file.seek(0, 2))
                    file.seek(max(end - TAIL_BYTES, 0))
                    self._offset, self._tail = end, file.read()

    def new_records(self) -> list[MetricsRecord]:
        """The records that were written since the last call, oldest first.

        Raises:
            StorageError: The file cannot be read; the next call may succeed.
        """
        if not self._path.exists():
            return []
        with self._path.open_input() as file:
            is_same = self._offset > 0 and file.seek(0, 2) >= self._offset
            if is_same:
                file.seek(self._offset - len(self._tail))
                content = file.read()
                is_same = content.startswith(self._tail)
            if is_same:
                content = content[len(self._tail) :]
            else:
                self._offset, self._tail = 0, b""
                file.seek(0)
                content = file.read()
        lines, rest = split_lines(content)
        whole = content[: len(content) - len(rest)]
        self._offset += len(whole)
        self._tail = (self._tail + whole)[-TAIL_BYTES:]
        records = [record for line in lines if (record := parse_record(line)) is not None]
        if not is_same:
            records = [record for record in records if _time_of(record) > self._seen_until]
        self._seen_until = max([self._seen_until, *map(_time_of, records)])
        return records


def _time_of(record: MetricsRecord) -> float:
    return float(record.get("time") or 0.0)
