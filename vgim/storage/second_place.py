"""Give a file a second place, without reading it where the storage can: a hard link, or a copy by the storage."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from typing import IO, Any, Literal, NamedTuple

from vgim.storage.atomic import sync_folder
from vgim.storage.errors import storage_errors
from vgim.storage.files import COPY_CHUNK_BYTES
from vgim.storage.location import Location

COPYING_STORAGE = ("s3", "gcs", "abfs")
"""Types of filesystems that copy an object by themselves, whole or not at all."""
LARGEST_STORAGE_COPY = 5 * 10**9
"""Bytes of the largest object that S3 copies in one request."""
_NO_LINK = {
    errno.EXDEV,
    errno.EPERM,
    errno.EACCES,
    errno.EMLINK,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EINVAL,
}
"""Errors of a file system that makes no link here: another device, a rule, a limit, or no links at all."""

Manner = Literal["linked", "copied by the storage", "copied"]


class SecondPlace(NamedTuple):
    """How a file got its second place."""

    manner: Manner
    sha256: str | None
    """Hash of its bytes in hex; None if they did not pass through this process."""


def give_second_place(source: Location, target: Location) -> SecondPlace:
    """Make `target` the same file as `source`, whole or not at all; a file that is there is replaced.

    A hard link on the same local file system, a copy by the storage on the same object store, else a copy through this
    process in chunks.

    Raises:
        StorageError: The source cannot be read, or the target cannot be written.
    """
    if source.is_local and target.is_local and _link(source, target):
        return SecondPlace("linked", None)
    if _is_copied_by_storage(source, target):
        source.attempt("copy", lambda filesystem, path: filesystem.copy_file(path, target.fs_path))
        return SecondPlace("copied by the storage", None)
    with source.open_input() as file:
        stream = _Hashed(file)
        if target.is_local:
            with target.atomic_output() as out:
                shutil.copyfileobj(stream, out, COPY_CHUNK_BYTES)
        else:
            target.put(stream)  # type: ignore[arg-type]  # which only seeks to 0 and reads
    return SecondPlace("copied", stream.digest.hexdigest())


def _link(source: Location, target: Location) -> bool:
    with storage_errors("link", f"{source.uri} as {target.uri}", kinds=(OSError,)):
        target.local_path.parent.mkdir(parents=True, exist_ok=True)
        # A link to a symbolic link would be another symbolic link.
        real = os.path.realpath(source.local_path)
        with suppress(FileNotFoundError):
            target.local_path.unlink()
        try:
            os.link(real, target.local_path)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        sync_folder(target.local_path.parent)
    return True


def _is_copied_by_storage(source: Location, target: Location) -> bool:
    if source.is_local or target.is_local:
        return False
    filesystem = source.filesystem
    return (
        filesystem.type_name in COPYING_STORAGE
        and bool(filesystem.equals(target.filesystem))
        and source.size() <= LARGEST_STORAGE_COPY
    )


class _Hashed:
    """A file that is read from its start to its end, perhaps several times, and hashed by the way."""

    def __init__(self, file: IO[bytes] | Any) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def seek(self, position: int) -> None:
        """Go to the start."""
        self._file.seek(position)
        self.digest = hashlib.sha256()

    def read(self, num_bytes: int = -1, /) -> bytes:
        """Read the next bytes."""
        data: bytes = self._file.read(num_bytes)
        self.digest.update(data)
        return data
