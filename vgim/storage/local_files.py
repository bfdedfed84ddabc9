"""Local files through Python's own functions: whoever reads a run's files on this machine imports no Arrow."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from vgim.errors import StorageError
from vgim.storage.files import Found, Kind

_NOTHING_THERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class LocalFiles:
    """A path on this machine, NFS included: `Files`.

    Args:
        path: Absolute path.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    def look_up(self) -> Found:
        return _found("", Path(self._path).stat)

    def entries(self, *, recursive: bool) -> list[Found]:
        found: list[Found] = []
        folders = [(self._path, "")]
        while folders:
            folder, below = folders.pop()
            for item in _items(folder):
                entry = _found(f"{below}{item.name}", item.stat)
                if entry.kind is not Kind.MISSING:
                    found.append(entry)
                if recursive and entry.kind is Kind.FOLDER:
                    folders.append((item.path, f"{entry.path}/"))
        return found

    def read(self) -> bytes:
        return Path(self._path).read_bytes()

    def make_folder(self) -> None:
        Path(self._path).mkdir(parents=True, exist_ok=True)

    def delete(self) -> None:
        kind = self.look_up().kind
        if kind is Kind.FOLDER and not Path(self._path).is_symlink():
            shutil.rmtree(self._path)
        elif kind is not Kind.MISSING:
            Path(self._path).unlink()


def _items(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing if there is no such folder.

    Raises:
        StorageError: A name is not UTF-8.
    """
    try:
        with os.scandir(folder) as items:
            found = list(items)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        if Path(folder).exists():
            raise
        return []
    for item in found:
        if any(
            "\ud800" <= mark <= "\udfff" for mark in item.name
        ):  # how Python keeps bytes that do not decode
            shown = os.fsencode(item.path).decode(errors="backslashreplace")
            raise StorageError(f"cannot list {folder}: the name {shown} is not UTF-8; rename it")
    return found


def _found(path: str, status_of: Callable[[], os.stat_result]) -> Found:
    try:
        status = status_of()
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            raise
        return Found(path, Kind.MISSING)
    if stat.S_ISREG(status.st_mode):
        return Found(path, Kind.FILE, status.st_size, status.st_mtime_ns)
    kind = Kind.FOLDER if stat.S_ISDIR(status.st_mode) else Kind.OTHER
    return Found(path, kind, 0, status.st_mtime_ns)
