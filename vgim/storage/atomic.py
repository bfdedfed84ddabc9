"""Local files that are whole or absent: written beside the target, synced, renamed."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

TEMPORARY_MARK = ".tmp-"
"""Part of the name of a file that is being written; listings leave these files out."""


@contextmanager
def renamed_at_end(path: Path) -> Iterator[IO[bytes]]:
    """A binary file to write, which is renamed to `path` if the `with` block ends without an error.

    Temporary files that killed writers of `path` left are removed. A device or a pipe, such as /dev/stdout, is written
    to in place.

    Raises:
        OSError: The file cannot be written.
    """
    if not path.name:
        raise IsADirectoryError(errno.EISDIR, "the root", str(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as out:
            yield out
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked_temporary(path) as (temporary, out):
        yield out
        out.flush()
        os.fsync(out.fileno())
        temporary.replace(path)
    _remove_left_temporaries(path)
    sync_folder(path.parent)


@contextmanager
def locked_temporary(path: Path) -> Iterator[tuple[Path, IO[bytes]]]:
    """A new file beside `path` to write, and its path; it is gone at the end unless it was renamed.

    It is locked while it is written. The system frees the lock of a process that is killed, by which others tell that
    nobody writes the file any more.
    """
    while True:
        temporary = path.with_name(f".{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")
        with temporary.open("xb") as out:
            _lock(out.fileno())
            if not _is_at(temporary, out.fileno()):  # somebody took it for left before it was locked
                continue
            try:
                yield temporary, out
            finally:
                temporary.unlink(missing_ok=True)
            return


@contextmanager
def locked_temporary_folder(path: Path) -> Iterator[Path]:
    """A new folder beside `path` to fill; it is gone at the end unless it was renamed.

    What earlier ones left that were killed is removed. The folder is locked as a `locked_temporary` is.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_temporaries(path)
    while True:
        temporary = path.with_name(f".{path.name}{TEMPORARY_MARK}{uuid.uuid4().hex[:12]}")
        temporary.mkdir()
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:  # somebody took it for left before it was locked
            continue
        try:
            _lock(descriptor)
            if not _is_at(temporary, descriptor):
                continue
            try:
                yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)
            return
        finally:
            os.close(descriptor)


def replace_folder(new: Path, folder: Path) -> None:
    """Give a new folder another's name. Of several processes that do so at once, the last one's folder stays.

    Args:
        new: Folder from `locked_temporary_folder(folder)`.
        folder: Name that it gets; a folder of this name is removed.

    Raises:
        OSError: The folder cannot be renamed.
    """
    while True:
        try:
            new.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        with locked_temporary_folder(folder) as aside, suppress(FileNotFoundError):
            folder.rename(aside)  # another process may have moved it aside before


def _remove_left_temporaries(path: Path) -> None:
    """Remove the temporary files and folders of a target whose writers were killed."""
    with suppress(OSError):
        for other in path.parent.glob(f"{glob.escape(f'.{path.name}{TEMPORARY_MARK}')}*"):
            remove_if_left(other)


def remove_if_left(temporary: Path) -> None:
    """Remove a `locked_temporary` or its folder if the process that wrote it was killed."""
    with suppress(OSError):  # its writer is alive, or has just finished
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    with suppress(OSError):  # some file systems have no locks; what is left on them stays
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for one that looks whether the file was left


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def sync_folder(path: Path) -> None:
    """Let the names in a local folder survive a power cut: a marker must not outlive what it marks."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError:
        pass  # some network file systems cannot sync a folder
    finally:
        os.close(folder)
