"""Failures of storage in one line: what was tried, on which file, why it failed, and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from vgim.errors import StorageError
from vgim.text import first_line

_FIXES = {
    errno.EACCES: ("permission denied", "choose a folder that you may write to"),
    errno.EPERM: ("permission denied", "choose a folder that you may write to"),
    errno.ENOSPC: ("no space left on the device", "free some space or choose another folder"),
    errno.EDQUOT: ("the disk quota is used up", "free some space or choose another folder"),
    errno.EROFS: ("the file system is read-only", "choose a folder that can be written"),
    errno.ENOENT: ("there is no such file or folder", "check the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "check the path"),
    errno.EEXIST: ("a file stands where a folder is needed", "remove it or choose another folder"),
    errno.EISDIR: ("it is a folder, not a file", "check the path"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
}


@contextmanager
def storage_errors(action: str, uri: str) -> Iterator[None]:
    """Turn an OSError of `action` on `uri` into a StorageError with reason and fix."""
    try:
        yield
    except OSError as error:
        code = errno.EISDIR if str(error).endswith("is a directory") else error.errno  # Arrow sets no errno
        if code in _FIXES:
            reason, fix = _FIXES[code]
        else:
            reason = first_line(error)
            fix = "check the address, the credentials and the network"
        raise StorageError(f"cannot {action} {uri}: {reason}; {fix}") from error
