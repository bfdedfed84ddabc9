"""What a folder of other people's files holds: every file of it, or why it cannot be read."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from vgim.data.foreign import problem_of, reason_of
from vgim.errors import StorageError
from vgim.secrets import has_secret
from vgim.storage import Entry, Location, storage_errors
from vgim.text import plural, shorten

_MARKS_OF_URIS = re.compile(r"[?#&;:@%]|//")
_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_FOLDER = "a folder, not a file"
_Identity = tuple[int, int]
"""Device and inode."""


class Unusable(NamedTuple):
    """Something in a folder that cannot be read. If it is a folder, nothing below it can."""

    path: str
    """Below the folder; bytes that are no text are escaped."""
    reason: str


class Listing(NamedTuple):
    """All files below a folder, and what cannot be read there; both are sorted by path."""

    files: list[Entry]
    unusable: list[Unusable]


def list_foreign(folder: Location, suffixes: tuple[str, ...] = ()) -> Listing:
    """List a folder's files at any depth. Links are followed, but not to a folder that holds the link.

    Args:
        folder: The folder.
        suffixes: Endings of names that a file should have; a folder that is named so is listed as unusable, but what
            lies in it is listed too.

    Raises:
        StorageError: The folder itself cannot be listed.
    """
    entries, unusable = _walk(folder) if folder.is_local else (list(folder.walk()), [])
    files = []
    for entry in entries:
        path, reason = _check_name(folder, entry.path)
        if reason:
            unusable.append(Unusable(path, reason))
        elif not entry.is_dir:
            files.append(entry)
        elif PurePosixPath(path).suffix.lower() in suffixes:
            unusable.append(Unusable(path, _FOLDER))
    return Listing(sorted(files), sorted(unusable))


def nothing_usable(unusable: Sequence[tuple[str, str]]) -> str:
    """How many files cannot be used, and the first, for a message that nothing is left; empty if there are none.

    Args:
        unusable: Path and reason of each.
    """
    if not unusable:
        return ""
    path, reason = unusable[0]
    return f"; {plural(len(unusable), 'file')} cannot be used, such as {path}: {reason}"


def _walk(folder: Location) -> tuple[list[Entry], list[Unusable]]:
    """All files and folders below a local folder, and what cannot be listed."""
    root = folder.uri.rstrip("/")
    with storage_errors("list", folder.uri, kinds=(OSError,)):
        facts = os.stat(folder.uri)  # noqa: PTH116 (a path of any bytes)
    entries, unusable = list[Entry](), list[Unusable]()
    todo: list[tuple[str, tuple[_Identity, ...]]] = [("", (_identity(facts),))]
    while todo:
        below, above = todo.pop()
        try:
            with (
                storage_errors("list", f"{root}/{below}".rstrip("/") or "/", kinds=(OSError,)),
                os.scandir(f"{root}/{below}") as found,
            ):
                children = list(found)
        except StorageError as error:
            if not below or problem_of(error, folder) is None:
                raise
            unusable.append(Unusable(below.rstrip("/"), reason_of(error.__cause__ or error)))
            continue
        for child in children:
            path = below + child.name
            try:
                facts = child.stat()
            except OSError as error:
                unusable.append(Unusable(_shown(path), _why_not_there(child, error)))
                continue
            is_dir = stat.S_ISDIR(facts.st_mode)
            if is_dir and _identity(facts) in above:
                unusable.append(Unusable(_shown(path), "a link to a folder that holds it"))
            elif is_dir or stat.S_ISREG(facts.st_mode):
                entries.append(Entry(path, is_dir, 0 if is_dir else facts.st_size, facts.st_mtime_ns))
                if is_dir and _is_text(child.name):
                    todo.append((f"{path}/", (*above, _identity(facts))))
            else:
                kind = _KINDS.get(stat.S_IFMT(facts.st_mode), "something else")
                unusable.append(Unusable(_shown(path), f"{kind}, not a file"))
    return entries, unusable


def _check_name(folder: Location, path: str) -> tuple[str, str]:
    """A path as it can be written down, and why its file cannot be read by it; empty if it can."""
    if not _is_text(path):
        return _shown(path), "its name is not UTF-8; rename it"
    if not _MARKS_OF_URIS.search(path):
        return path, ""
    if has_secret(f"{folder.uri}/{path}"):
        return shorten(path, 1000), "its name reads as an address with a password or key; rename it"
    if not folder.is_local and not _is_addressed(folder, path):
        return path, "its name has marks that stand for something else in a URI; rename it"
    return path, ""


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: str) -> str:
    """A path of any bytes as text."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _is_addressed(folder: Location, path: str) -> bool:
    """Whether the location of a remote file leads to it."""
    try:
        return folder.child(path).fs_path == f"{folder.fs_path.rstrip('/')}/{path}"
    except StorageError:
        return False


def _identity(facts: os.stat_result) -> _Identity:
    return facts.st_dev, facts.st_ino


def _why_not_there(entry: os.DirEntry[str], error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "a link that leads back to itself"
    if entry.is_symlink() and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"a link to {shorten(_shown(os.readlink(entry.path)))}, which is not there"  # noqa: PTH115
    return reason_of(error)
