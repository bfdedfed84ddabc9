"""A folder for files on their way to storage that cannot be written in place."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vgim.storage.errors import storage_errors


def temporary_place() -> str:
    """Folder of temporary files, for errors; also where none of the folders that Python tries can be written."""
    try:
        return tempfile.gettempdir()
    except OSError:
        return os.environ.get("TMPDIR", "/tmp")


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder of temporary files, which is deleted after the `with` block.

    Raises:
        StorageError: No folder can be made, such as on a full disk.
    """
    with storage_errors("make a folder in", temporary_place()):
        folder = tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)
    with folder:
        yield Path(folder.name)
