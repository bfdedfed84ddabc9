"""Reads of files in one folder, before each of which a test may count, or fail as a broken disk does."""

from __future__ import annotations

from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from vgim.data.stream import row_audio

PART, ROW_GROUP = "part", "row group"
"""What is read: the bytes of a crop, or a row group by Arrow."""


def watch_reads(
    folder: Path,
    on_read: Callable[[str], None],
    set_attribute: Callable[[Any, str, Any], None] = setattr,
) -> None:
    """Call `on_read` with `PART` or `ROW_GROUP` before each read of a shard in a folder.

    Args:
        folder: The folder.
        on_read: May raise an OSError.
        set_attribute: How to replace what reads; by default for as long as the process lives.
    """
    folder = folder.resolve()

    def at(what: str, path: Any) -> None:
        if isinstance(path, str | Path) and Path(path).resolve().is_relative_to(folder):
            on_read(what)

    class WatchedFile(FileIO):
        def readinto(self, out: Any) -> int | None:
            at(PART, self.name)
            return super().readinto(out)

    class WatchedParquet(pq.ParquetFile):  # type: ignore[misc]
        def __init__(self, source: Any, **options: Any) -> None:
            self._source_of_test = source
            super().__init__(source, **options)

        def read_row_group(self, *arguments: Any, **options: Any) -> Any:
            at(ROW_GROUP, self._source_of_test)
            return super().read_row_group(*arguments, **options)

    set_attribute(row_audio, "FileIO", WatchedFile)
    set_attribute(pq, "ParquetFile", WatchedParquet)
