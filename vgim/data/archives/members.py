"""The files of an archive that nobody has vouched for, one after the other. What no corpus needs is refused."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from vgim.errors import DataError
from vgim.storage import Location
from vgim.storage.errors import storage_errors
from vgim.text import shorten

SUFFIXES = (".tar.gz", ".tgz", ".tar")
GZIP_MAGIC = b"\x1f\x8b"
MAX_FILES = 2_000_000
MAX_RATIO = 50
"""Bytes that an archive's byte may become. Speech packed as FLAC does not shrink, and as WAV to half at best."""
MIN_ALLOWED_BYTES = 1 << 30
"""Bytes that any archive may become, however small it is."""
MAX_HEADER_BYTES = 1 << 24
"""Bytes between the content of two files: headers, and names too long for them, which tarfile holds in memory."""
CHUNK_BYTES = 1 << 17
READ_BYTES = 1 << 23
"""Bytes that are read from storage at once: each read of remote storage is a request."""
END_BYTES = 1024
"""Zeros that mark the end of an archive."""

Members = Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]


def is_archive(name: str) -> bool:
    """Whether a file is called as an archive that can be read."""
    return name.lower().endswith(SUFFIXES)


def is_gzip(file: Location) -> bool:
    """Whether a file begins as gzip does.

    Raises:
        StorageError: The file cannot be read.
    """
    with file.open_input() as opened, storage_errors("read", file.uri, kinds=(OSError,)):
        return bytes(opened.read(len(GZIP_MAGIC))) == GZIP_MAGIC


def read_members(file: Location, on_bytes: Callable[[int], None] = lambda num_bytes: None) -> Members:
    """Read the regular files of a `.tar` or `.tar.gz` and their content, in the archive's order.

    Args:
        file: The archive.
        on_bytes: Called for each file with the bytes of the archive that are read so far.

    Yields:
        The header of each file, and its content in chunks. Content that is not read is skipped.

    Raises:
        DataError: The archive is damaged or none. Or it holds a link, a device, a name that leads out of a folder, or
            more than a corpus would.
        StorageError: The archive cannot be read.
    """
    # Not at the top: commands that read results list the kinds of corpora, and read none.
    from pyarrow import BufferedInputStream

    allowed = max(file.size() * MAX_RATIO, MIN_ALLOWED_BYTES)
    is_packed = is_gzip(file)
    with (
        file.open_input() as source,
        storage_errors("read", file.uri, kinds=(OSError,)),
        _damage_told(file),
        _unpacked(BufferedInputStream(source, READ_BYTES), is_packed) as stream,
    ):
        content = _Bounded(stream, file, allowed)
        fileobj: Any = content
        with tarfile.open(fileobj=fileobj, mode="r|", bufsize=CHUNK_BYTES, tarinfo=_Header) as tar:
            number = 0
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all headers
                number += 1
                if number > MAX_FILES:
                    raise _too_much(file, allowed)
                _refuse(member, file)
                content.begin_file(member.size)
                if member.isreg():
                    chunks = _chunks(tar, member, file)
                    yield member, chunks
                    for _ in chunks:
                        pass
                    on_bytes(source.tell())
                content.begin_header()
            content.begin_file(0)
            _check_end(tar, content, file, is_checked=is_packed)


def _unpacked(source: Any, is_packed: bool) -> Any:
    # tarfile's own reading of gzip takes a file that breaks off for one that ends.
    return gzip.GzipFile(fileobj=source, mode="rb") if is_packed else source


class _Header(tarfile.TarInfo):
    """A header of tarfile, which takes a damaged one for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: Any) -> _Header:
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:  # type: ignore[attr-defined]
            raise tarfile.ReadError(f"a header is damaged: {error}") from error


class _Bounded:
    """The bytes of an archive, up to what a corpus needs.

    Args:
        stream: The archive, unpacked.
        file: The archive, for messages.
        allowed: Most bytes of the whole archive.
    """

    def __init__(self, stream: Any, file: Location, allowed: int) -> None:
        self._stream, self._file, self._allowed = stream, file, allowed
        self._num_bytes, self._num_file_bytes = 0, 0
        self._before_next_file = MAX_HEADER_BYTES
        self.last = b""
        """The last bytes, `END_BYTES` of them."""

    def begin_file(self, num_bytes: int) -> None:
        """The content of a file follows."""
        self._num_file_bytes += num_bytes
        if self._num_file_bytes > self._allowed:  # before it is unpacked
            raise _too_much(self._file, self._allowed)
        self._before_next_file = self._allowed

    def begin_header(self) -> None:
        """The content of a file has ended."""
        self._before_next_file = self._num_bytes + MAX_HEADER_BYTES

    def read(self, size: int) -> bytes:
        data = bytes(self._stream.read(size))
        self._num_bytes += len(data)
        self.last = (self.last + data)[-END_BYTES:]
        if self._num_bytes > self._allowed + END_BYTES:
            raise _too_much(self._file, self._allowed)
        if self._num_bytes > self._before_next_file:
            raise DataError(
                f"{self._file} holds a header of more than {MAX_HEADER_BYTES:,} bytes, which no corpus needs; remove it"
            )
        return data


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo, file: Location) -> Iterator[bytes]:
    with _damage_told(file):
        content = tar.extractfile(member)
        assert content is not None
        while chunk := content.read(CHUNK_BYTES):
            yield chunk


def _check_end(tar: tarfile.TarFile, content: _Bounded, file: Location, *, is_checked: bool) -> None:
    """Read to the end, where the checksum of gzip is. DataError unless the archive ends as archives do."""
    stream: Any = tar.fileobj
    while rest := stream.read(CHUNK_BYTES):
        if any(rest):
            raise DataError(
                f"{file} holds more after its end, as several archives in one file do; unpack it with tar "
                "--ignore-zeros"
            )
    if not is_checked and any(content.last):
        raise tarfile.ReadError("it ends without the mark of its end")


@contextmanager
def _damage_told(file: Location) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{file} is damaged or no tar archive ({error}); remove it and download it again"
        ) from error


def _too_much(file: Location, allowed: int) -> DataError:
    return DataError(
        f"{file} would unpack to more than {MAX_FILES:,} files or {allowed:,} bytes, which no corpus of its size does; "
        "remove it"
    )


def _refuse(member: tarfile.TarInfo, file: Location) -> None:
    name = member.name
    reason = ""
    if not (member.isreg() or member.isdir()):
        reason = "is a link" if member.issym() or member.islnk() else "is neither a file nor a folder"
    elif member.issparse():
        reason = "is a sparse file"
    elif member.size < 0:
        reason = "has a negative size"
    elif name.startswith(("/", "\\")) or ":" in name.partition("/")[0]:
        reason = "has an absolute name"
    elif ".." in PurePosixPath(name.replace("\\", "/")).parts:
        reason = "leads out of the folder"
    elif "\0" in name or len(name.encode(errors="surrogateescape")) > 1000:
        reason = "has no possible name"
    if reason:
        raise DataError(f"{file}: {shorten(name)!r} {reason}, which no corpus needs; remove the archive")
