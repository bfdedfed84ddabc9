"""Local files that are whole or absent: written beside the target, synced, renamed."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

TEMPORARY_MARK = ".tmp-"
"""Part of the name of a file that is being written; listings leave these files out."""


@contextmanager
def renamed_at_end(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which is renamed to `path` if the `with` block ends without an error."""
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, "the root", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")
    try:
        with temporary.open("xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Let the names in a local folder survive a power cut: a marker must not outlive what it marks."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError:
        pass  # some network file systems cannot sync a folder
    finally:
        os.close(folder)
