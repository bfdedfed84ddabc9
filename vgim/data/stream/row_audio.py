"""The audio of a row group: read whole the first time, and after that only the bytes that are asked for.

A checksum of Parquet is over a page, which holds the audio of a whole row group. So a process reads a row group of a
local file whole once, and compares the checksum. It then knows where the audio of each row lies in the file, and reads
parts of it until size, time or inode of the file change. Row groups on other storage are read whole each time, in one
request, unless the shard has a copy on the node's disk (`vgim.data.shards.cache`).

Shapes: U rows of a row group.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from types import TracebackType
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgim.arrays import I64, U64
from vgim.data.shards.cache import read_cached, read_past_copy
from vgim.data.shards.read import (
    DAMAGE,
    FileState,
    file_state,
    footer_of_file,
    other_content,
    read_row_group_of_file,
    unreadable,
)
from vgim.data.stream.crops import utterance_keys
from vgim.errors import DataError
from vgim.storage import Location

KNOWN_ROW_GROUPS = 32_768
"""Row groups that a process remembers: 256 GiB of audio, in about 50 MiB of memory."""
LENGTH_BYTES = 4
"""Before each value of a Parquet column of binary values without compression stands its length, little-endian."""

Octets = NDArray[np.uint8]


class Places(NamedTuple):
    """Where the audio of each row lies in a file or in memory."""

    keys: U64  # [U] hash of the utterance's id
    begins: I64  # [U] first byte
    num_bytes: I64  # [U]


@dataclass(frozen=True)
class AudioInMemory:
    """A row group's audio that was just read."""

    places: Places
    data: Octets

    def will_read(self, begins: I64, num_bytes: I64) -> None:
        """Nothing to do: the bytes are there."""

    def read_into(self, out: Octets, begin: int) -> None:
        """Fill `out` with the bytes from `begin` on."""
        out[:] = self.data[begin : begin + len(out)]

    def __enter__(self) -> AudioInMemory:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


@dataclass(frozen=True)
class AudioInFile:
    """A row group's audio in an open shard, whose checksums were compared before."""

    places: Places
    file: FileIO
    path: str

    def will_read(self, begins: I64, num_bytes: I64) -> None:
        """Let the system fetch these parts of the file at once, so that reads wait for the disk once and not each."""
        if hasattr(os, "posix_fadvise"):
            for begin, size in zip(begins.tolist(), num_bytes.tolist(), strict=True):
                os.posix_fadvise(self.file.fileno(), begin, size, os.POSIX_FADV_WILLNEED)

    def read_into(self, out: Octets, begin: int) -> None:
        """Fill `out` with the bytes from `begin` on.

        Raises:
            DataError: The shard cannot be read, or is shorter now.
        """
        try:
            self.file.seek(begin)
            num_read = self.file.readinto(out)  # type: ignore[arg-type]  # an array is a buffer
        except OSError as error:
            raise unreadable(f"shard {self.path}", error) from error
        if num_read != len(out):
            raise unreadable(f"shard {self.path}", EOFError(f"{num_read} of {len(out)} bytes came"))

    def __enter__(self) -> AudioInFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()


RowAudio = AudioInMemory | AudioInFile


def open_audio(path: str, row_group: int) -> RowAudio:
    """Open the audio of a row group, to be used in `with`.

    Args:
        path: The shard.
        row_group: Number of the row group in it.

    Raises:
        DataError: The shard is missing or damaged.
    """
    return read_cached(path, lambda at: _open_audio(at, row_group))


def open_past_copy(audio: RowAudio, path: str, row_group: int, failure: DataError) -> RowAudio:
    """Open the audio of a row group in the shard itself, after it did not read.

    Args:
        audio: What did not read.
        path: The shard.
        row_group: Number of the row group in it.
        failure: The error of reading.

    Raises:
        DataError: `failure`, if it is the shard that did not read; or the shard reads no better.
    """
    if not isinstance(audio, AudioInFile) or audio.path == path:
        raise failure
    return read_past_copy(path, failure, lambda at: _open_audio(at, row_group))


def _open_audio(path: str, row_group: int) -> RowAudio:
    if not Location(path).is_local:
        return _read_whole(path, row_group)
    try:
        file = FileIO(path)
    except OSError as error:
        raise unreadable(f"shard {path}", error) from error
    found = _found(path, file_state(os.fstat(file.fileno())), row_group)
    if found:
        return AudioInFile(found[0], file, path)
    with file:
        audio = _read_whole(path, row_group)
        try:
            places = _places_in_file(file, path, row_group, audio.places)
        except DAMAGE as error:
            raise unreadable(f"row group {row_group} of shard {path}", error) from error
        if places is not None:
            found.append(places)
    return audio


@lru_cache(maxsize=KNOWN_ROW_GROUPS)
def _found(path: str, state: FileState, row_group: int) -> list[Places]:
    """The places of a row group's audio in a local file, or nothing yet; whoever finds them adds them."""
    return []


def _read_whole(path: str, row_group: int) -> AudioInMemory:
    table = read_row_group_of_file(path, row_group, ("utterance_id", "audio"))
    if any(column.null_count for column in table.columns):
        raise other_content(path)
    column = table["audio"]
    audio = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    offset_type = np.int64 if pa.types.is_large_binary(audio.type) else np.int32
    _, offsets, data = audio.buffers()
    borders = np.frombuffer(offsets, offset_type)[audio.offset :][: len(audio) + 1].astype(np.int64)
    keys = utterance_keys(table["utterance_id"])
    return AudioInMemory(Places(keys, borders[:-1], np.diff(borders)), np.frombuffer(data, np.uint8))


def _places_in_file(file: FileIO, path: str, row_group: int, in_memory: Places) -> Places | None:
    """Where a row group's audio lies in its file; None if it is not stored as one page of plain values.

    The column ends with the last row's audio, so that the places follow from the lengths. The lengths in the file must
    be the same.
    """
    group = footer_of_file(path).row_group(row_group)
    columns = map(group.column, range(group.num_columns))
    chunk = next(column for column in columns if column.path_in_schema == "audio")
    end = chunk.data_page_offset + chunk.total_compressed_size
    sizes = in_memory.num_bytes + LENGTH_BYTES
    begins = end - np.cumsum(sizes[::-1])[::-1] + LENGTH_BYTES
    for begin, num_bytes in zip(begins.tolist(), in_memory.num_bytes.tolist(), strict=True):
        if begin < LENGTH_BYTES:
            return None
        file.seek(begin - LENGTH_BYTES)
        if file.read(LENGTH_BYTES) != num_bytes.to_bytes(LENGTH_BYTES, "little"):
            return None
    return in_memory._replace(begins=begins)
