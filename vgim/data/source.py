"""What a corpus's files are read from: a `Location` on storage, or a place in archives."""

from __future__ import annotations

from typing import Protocol

from vgim.errors import StorageError
from vgim.storage import FileSizes


class LostSourceError(StorageError):
    """What holds a corpus was there when it was listed, and cannot be read any more. It says nothing about one file."""


class Source(Protocol):
    """A file or folder that is only read. A `Location` is one."""

    @property
    def uri(self) -> str:
        """Path or URI. That of a place in an archive goes on below the archive's."""

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, NFS included."""

    @property
    def name(self) -> str:
        """The last part of the path."""

    @property
    def parent(self) -> Source:
        """The folder that contains this file or folder."""

    def child(self, *parts: str) -> Source:
        """What is below this folder; a part may contain slashes."""

    def exists(self) -> bool:
        """Whether there is a file or folder."""

    def size(self) -> int:
        """Bytes of the file."""

    def stamp(self) -> str:
        """Tells the file from another of its name and size, without reading it; empty where nothing tells."""

    def list_files(self) -> FileSizes:
        """Path below the folder and bytes of each file in it, at any depth, sorted."""

    def read_bytes(self) -> bytes:
        """Read the whole file."""
