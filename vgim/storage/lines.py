"""A local file to which whole lines are appended while a run works."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vgim.errors import StorageError
from vgim.storage.errors import storage_errors


class AppendedLines:
    """A file open for appending. A line that does not fit is taken back, so that the file has whole lines only.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors("write", str(path)):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def fileno(self) -> int:
        """The file's descriptor."""
        return self._fd

    def write(self, line: str) -> None:
        """Append a line, which is visible to readers at once.

        Args:
            line: With its line end.

        Raises:
            StorageError: The line cannot be written, or the file is no longer at its path.
        """
        with storage_errors("write", str(self._path)):
            before = os.fstat(self._fd)
            self._check_place(before)
            rest = line.encode()
            try:
                while rest:
                    rest = rest[os.write(self._fd, rest) :]
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._fd, before.st_size)
                raise

    def close(self) -> None:
        """Close the file; closing again does nothing.

        Raises:
            StorageError: The file system reports only now that lines were not written.
        """
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with storage_errors("write", str(self._path)):
                os.close(fd)

    def _check_place(self, opened: os.stat_result) -> None:
        """Check that the path still leads to the open file: lines of a deleted file would be lost silently."""
        with suppress(FileNotFoundError, NotADirectoryError):
            there = self._path.stat()
            if (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino):
                return
        raise StorageError(
            f"cannot write {self._path}: the file or its folder was deleted, moved or replaced meanwhile; restore the "
            "folder, or start the same command again"
        )
