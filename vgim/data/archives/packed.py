"""Files in archives, as if the archives were unpacked into one folder."""

from __future__ import annotations

import posixpath
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from vgim.data.archives.members import read_members
from vgim.data.source import Source
from vgim.errors import DataError, StorageError
from vgim.progress import SILENT, Progress
from vgim.storage import FileSizes, Location

TEXT_SUFFIXES = (".txt", ".json")
"""Files that are read while a corpus is listed: transcripts, labels, markers."""
MAX_TEXT_BYTES = 1 << 31
"""Bytes of text that are held in memory. The transcripts of LibriSpeech are 60 MB, its phone labels 1 GB."""
MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Member:
    """Where a file is in an archive."""

    archive: int
    """Index of the archive in `Contents.archives`."""
    offset: int
    """First byte of the content in the unpacked archive."""
    size: int
    crc32: int
    """Checksum of the content."""


@dataclass(frozen=True)
class Contents:
    """All files of archives."""

    archives: tuple[Location, ...]
    members: Mapping[str, Member]
    """By path. Of files with one path, the last archive's last one, which is left where archives are unpacked."""
    texts: Mapping[str, bytes]
    """Path → content of the text files."""
    unusable: tuple[tuple[str, str], ...] = ()
    """Path and reason of each file that cannot be used. Bytes that are no text are escaped."""
    indexes: tuple[Location | None, ...] = ()
    """Index of each archive that is packed with gzip, once there is one."""


@dataclass(frozen=True)
class PackedPath:
    """A file or folder in archives."""

    root: Location
    """The archive, or the folder of several."""
    contents: Contents = field(repr=False, compare=False)
    path: str = ""
    """Path in the archives."""
    read: Callable[[str], bytes] | None = field(default=None, repr=False, compare=False)
    """Reads a file of the archives; see `vgim.data.archives.random_access.opened`."""

    def __str__(self) -> str:
        return self.uri

    @property
    def uri(self) -> str:
        return f"{self.root.uri.rstrip('/')}/{self.path}" if self.path else self.root.uri

    @property
    def is_local(self) -> bool:
        return self.root.is_local

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2] or self.root.name

    @property
    def parent(self) -> Source:
        return replace(self, path=self.path.rpartition("/")[0]) if self.path else self.root.parent

    def child(self, *parts: str) -> PackedPath:
        path = posixpath.normpath(posixpath.join(self.path, *(part.strip("/") for part in parts)))
        return replace(self, path="" if path == "." else path)

    def exists(self) -> bool:
        inside = f"{self.path}/"
        members = self.contents.members
        return not self.path or self.path in members or any(path.startswith(inside) for path in members)

    def size(self) -> int:
        """Bytes of the file.

        Raises:
            StorageError: There is no such file.
        """
        if self.path not in self.contents.members:
            raise StorageError(f"cannot read the size of {self.uri}: there is no such file; check the path")
        return self.contents.members[self.path].size

    def stamp(self) -> str:
        """CRC-32 of the file; empty for a file that is not there."""
        member = self.contents.members.get(self.path)
        return "" if member is None else str(member.crc32)

    def list_unusable(self) -> list[tuple[str, str]]:
        """Path below the folder and reason of each file that cannot be used, sorted."""
        inside = f"{self.path}/" if self.path else ""
        found = self.contents.unusable
        return sorted((path[len(inside) :], reason) for path, reason in found if path.startswith(inside))

    def list_files(self) -> FileSizes:
        inside = f"{self.path}/" if self.path else ""
        files = self.contents.members.items()
        return sorted((path[len(inside) :], found.size) for path, found in files if path.startswith(inside))

    def read_bytes(self) -> bytes:
        """Read the whole file.

        Raises:
            StorageError: There is no such file, or it is no text and the archives are not opened.
        """
        if (text := self.contents.texts.get(self.path)) is not None:
            return text
        if self.path not in self.contents.members or self.read is None:
            raise StorageError(f"cannot read {self.uri}: there is no such text file; check the path")
        return self.read(self.path)


def open_archives(root: Location, archives: Sequence[Location], progress: Progress = SILENT) -> PackedPath:
    """List archives as one folder. They are read to their end once.

    Args:
        root: What errors and paths call the folder: the archive, or the folder that holds the archives.
        archives: Each a `.tar` or `.tar.gz`.
        progress: Where to report how much is read.

    Raises:
        DataError: An archive is damaged, or holds what no corpus needs.
        StorageError: An archive cannot be read.
    """
    members: dict[str, Member] = {}
    texts: dict[str, bytes] = {}
    unusable: set[str] = set()
    for number, archive in enumerate(archives):
        for path, member, text in _files(archive, number, progress):
            if not _is_text(path):
                unusable.add(path.encode(errors="surrogateescape").decode(errors="backslashreplace"))
                continue
            members[path] = member
            if text is not None:
                texts[path] = text
        if sum(map(len, texts.values())) > MAX_TEXT_BYTES:
            raise _too_much_text(archive)
    contents = Contents(
        tuple(archives),
        members,
        texts,
        tuple((path, "its name is not UTF-8; rename it") for path in unusable),
    )
    return PackedPath(root, contents)


def _files(archive: Location, number: int, progress: Progress) -> Iterator[tuple[str, Member, bytes | None]]:
    """Path and place of each file of an archive, and its content if it is text."""
    num_text_bytes = 0
    with progress.stage(f"listing {archive.name}", total=archive.size() // MEGABYTE, unit="MB") as stage:
        for header, chunks in read_members(archive, lambda done: stage.update(done=done // MEGABYTE)):
            path = str(PurePosixPath(header.name))
            is_text = path.lower().endswith(TEXT_SUFFIXES)
            num_text_bytes += header.size if is_text else 0
            if num_text_bytes > MAX_TEXT_BYTES:
                raise _too_much_text(archive)
            crc32, text = 0, bytearray()
            for chunk in chunks:
                crc32 = zlib.crc32(chunk, crc32)
                if is_text:
                    text += chunk
            member = Member(number, header.offset_data, header.size, crc32)
            yield path, member, bytes(text) if is_text else None


def _too_much_text(archive: Location) -> DataError:
    return DataError(
        f"{archive} holds more than {MAX_TEXT_BYTES:,} bytes of text files, which no corpus does; unpack it"
    )


def narrowed(source: Source, paths: Collection[str]) -> Source:
    """The same folder, of which only some files can be read, to send it to another process.

    Args:
        source: A folder.
        paths: The files, below the folder.
    """
    if not isinstance(source, PackedPath):
        return source
    wanted = {source.child(path).path for path in paths}
    members = {path: source.contents.members[path] for path in wanted}
    return replace(
        source, contents=replace(source.contents, members=members, texts={}, unusable=()), read=None
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
