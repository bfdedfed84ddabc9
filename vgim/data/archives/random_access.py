"""Read single files of archives, in any order.

A `.tar.gz` can be read from its beginning only. An index of it holds, for up to 16,384 places, what is needed to begin
there: about 9 kB for each.
"""

from __future__ import annotations

import io
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from vgim.data.archives.members import is_gzip
from vgim.data.archives.packed import MEGABYTE, Contents, PackedPath
from vgim.data.source import LostSourceError, Source
from vgim.errors import ConfigError, StorageError
from vgim.extras import require_extra
from vgim.progress import SILENT, Progress
from vgim.storage import Location
from vgim.storage.temporary import temporary_folder
from vgim.text import first_line, shorten

MIN_SPACING_BYTES = 1 << 19
"""Bytes of the archive between two places where reading can begin; to read a file there, all of them are unpacked."""
MAX_PLACES = 1 << 14
READ_BYTES = 1 << 22


def check_readable(archives: list[Location]) -> None:
    """Check that files of archives can be read in any order.

    Raises:
        ConfigError: One is packed with gzip and not on this machine, or rapidgzip is not installed.
    """
    for archive in archives:
        if is_gzip(archive):
            if not archive.is_local:
                raise ConfigError(
                    f"{archive} is packed with gzip, of which a megabyte would come over the network for each "
                    "utterance; copy it to a local folder, or unpack it with gunzip to a .tar"
                )
            require_extra(f"reading {archive.name} without unpacking it", "data", ("rapidgzip",))


def with_indexes(source: Source, folder: Location, progress: Progress = SILENT) -> Source:
    """Make an index of each archive that is packed with gzip.

    Args:
        source: Any folder.
        folder: Where the indexes are written.
        progress: Where to report how much is read.

    Returns:
        The same folder, which `opened` can open.

    Raises:
        LostSourceError: An archive has changed since it was listed.
        StorageError: An index cannot be written.
    """
    if not isinstance(source, PackedPath):
        return source
    indexes: list[Location | None] = []
    for number, archive in enumerate(source.contents.archives):
        index = folder.child(f"archive-{number:03d}.index") if is_gzip(archive) else None
        if index is not None:
            ends = (
                found.offset + found.size
                for found in source.contents.members.values()
                if found.archive == number
            )
            index.write_bytes_atomic(_make_index(archive, max(ends, default=0), progress))
        indexes.append(index)
    return replace(source, contents=replace(source.contents, indexes=tuple(indexes)))


@contextmanager
def opened(source: Source) -> Iterator[Source]:
    """Open a folder, so that all files below it can be read until the `with` block ends.

    Args:
        source: Any folder; if it is in archives, one that `with_indexes` returned.
    """
    if not isinstance(source, PackedPath):
        yield source
        return
    with ExitStack() as stack:
        yield replace(source, read=_Reader(source.contents, stack).read)


@contextmanager
def opened_with_indexes(source: Source, progress: Progress = SILENT) -> Iterator[Source]:
    """Open a folder, with indexes that are deleted when the `with` block ends.

    Args:
        source: Any folder.
        progress: Where to report how much is read for the indexes.
    """
    if not isinstance(source, PackedPath):
        yield source
        return
    with (
        temporary_folder("vgim-archives-") as folder,
        opened(with_indexes(source, Location(folder), progress)) as readable,
    ):
        yield readable


class _Reader:
    def __init__(self, contents: Contents, stack: ExitStack) -> None:
        self._contents, self._stack = contents, stack
        self._files: dict[int, Any] = {}
        self._lock = threading.Lock()

    def read(self, path: str) -> bytes:
        """Read a file.

        Raises:
            LostSourceError: It is not what was listed.
        """
        member = self._contents.members[path]
        archive = self._contents.archives[member.archive]
        with self._lock, _loss_told(archive):
            if member.archive not in self._files:
                self._files[member.archive] = self._open(member.archive)
            file = self._files[member.archive]
            file.seek(member.offset)
            data = _read_all(file, member.size)
        if zlib.crc32(data) != member.crc32:
            raise _lost(archive, f"{path} has other bytes")
        return data

    def _open(self, number: int) -> Any:
        archive = self._contents.archives[number]
        index = self._contents.indexes[number]
        if index is None:
            return self._stack.enter_context(archive.open_input())
        file = self._stack.enter_context(archive.local_path.open("rb"))
        unpacked = self._stack.enter_context(_unpacked(archive, file, threads=1))
        unpacked.import_index(io.BytesIO(index.read_bytes()))
        return unpacked


def _make_index(archive: Location, num_bytes: int, progress: Progress) -> bytes:
    index = io.BytesIO()
    with (
        progress.stage(f"indexing {archive.name}", total=num_bytes // MEGABYTE, unit="MB") as stage,
        _loss_told(archive),
        archive.local_path.open("rb") as file,
        _unpacked(archive, file, threads=0) as unpacked,
    ):
        while unpacked.read(READ_BYTES):
            stage.update(done=unpacked.tell() // MEGABYTE)
        unpacked.export_index(index)
    return index.getvalue()


def _unpacked(archive: Location, file: Any, threads: int) -> Any:
    """An open archive, unpacked. It must be closed: its threads end the process otherwise."""
    from rapidgzip import RapidgzipFile

    spacing = max(MIN_SPACING_BYTES, archive.size() // MAX_PLACES)
    return RapidgzipFile(file, parallelization=threads, chunk_size=spacing)


def _read_all(file: Any, num_bytes: int) -> bytes:
    parts = []
    while num_bytes and (part := file.read(num_bytes)):
        parts.append(bytes(part))
        num_bytes -= len(part)
    return b"".join(parts)


@contextmanager
def _loss_told(archive: Location) -> Iterator[None]:
    try:
        yield
    except LostSourceError:
        raise
    except StorageError as error:
        raise LostSourceError(str(error)) from error
    except Exception as error:  # rapidgzip raises ValueError, RuntimeError, OSError and more
        raise _lost(archive, first_line(error)) from error


def _lost(archive: Location, reason: str) -> LostSourceError:
    return LostSourceError(
        f"{archive} was whole when it was listed, and cannot be read now ({shorten(reason)}); give the same command "
        "again"
    )
