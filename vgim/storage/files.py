"""What a `Location` asks of the storage behind it, local or remote, and what storage answers."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

COPY_CHUNK_BYTES = 8 * 1024 * 1024


class Kind(Enum):
    """What stands at a path."""

    MISSING = "missing"
    """Nothing, or a link that leads to nothing."""
    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"
    """A pipe, a socket or a device."""


class Found(NamedTuple):
    """What storage knows of a path."""

    path: str
    """Path below the folder that was listed; empty for the path that was looked up."""
    kind: Kind
    num_bytes: int = 0
    """Size of a file; 0 for a folder."""
    mtime_ns: int | None = None
    """Time of the last change, in nanoseconds since 1970; None where storage keeps no times."""


class Files(Protocol):
    """A path on some storage. Each call leaves the same result however often it is repeated."""

    def look_up(self) -> Found:
        """What stands at the path; a link is followed."""

    def entries(self, *, recursive: bool) -> list[Found]:
        """What is in the folder, at any depth if `recursive`; empty if there is no folder."""

    def read(self) -> bytes:
        """The whole file."""

    def make_folder(self) -> None:
        """Make the folder and those above it, if they are missing."""

    def delete(self) -> None:
        """Remove the file, or the folder with its content, if there is one."""
