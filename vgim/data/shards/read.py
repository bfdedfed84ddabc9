"""Read shards: whole utterances with their labels, lengths, and single row groups."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vgim.data.audio import decode
from vgim.data.audio_problem import AudioProblem
from vgim.data.corpora.phone_labels import Phones
from vgim.data.pcm import Pcm16
from vgim.data.shards.cache import read_cached
from vgim.data.shards.index import read_split
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.errors import DataError
from vgim.storage import Location

COLUMNS = ("utterance_id", "speaker_id", "transcript", "audio", "phones", "audio_mean", "audio_std")


@dataclass(frozen=True)
class Utterance:
    """One row of a shard."""

    utterance_id: str
    speaker_id: str
    transcript: str
    audio: Pcm16
    """[num_samples], 16 kHz mono."""
    phones: Phones | None
    """Class per 10 ms, [num_labels]; None without labels."""
    mean: float
    """Mean of the audio as float PCM in [-1, 1]."""
    std: float
    """Standard deviation of the audio as float PCM."""


def read_utterances(shards: Location, manifest: Manifest, split: str, limit: int = 0) -> Iterator[Utterance]:
    """Read the utterances of a split in shard order, with one row group in memory at a time.

    Shards are laid out in hash order, so the first utterances are a random choice.

    Args:
        shards: The shard folder.
        manifest: Its manifest.
        split: `train`, `validation` or `test`.
        limit: Utterances to read; 0 reads all.

    Raises:
        DataError: The split is empty, or a shard is missing or damaged.
    """
    summary = manifest.split(split)
    if not summary.utterances:
        raise DataError(f"{shards.uri} has no {split} split; prepare it again with a fraction above 0")
    expected = iter(_column(shards, manifest, split, "num_samples").items())
    num_read = 0
    for shard in summary.shards:
        path = shards.child(shard.path).uri
        phones = shards.child(labels).uri if (labels := manifest.phones_of(shard)) is not None else None
        footer = shard_footer(path)
        if footer.num_rows != shard.utterances:
            raise other_content(path)
        for row_group in range(footer.num_row_groups):
            for utterance in read_row_group_utterances(path, row_group, manifest.codec, phones):
                if (utterance.utterance_id, len(utterance.audio)) != next(expected, None):
                    raise other_content(path)
                yield utterance
                num_read += 1
                if num_read == limit:
                    return


def read_row_group_utterances(
    path: str, row_group: int, codec: str, phones: str | None = None
) -> Iterator[Utterance]:
    """Read the utterances of a row group of a shard.

    Args:
        path: The shard.
        row_group: Number of the row group in it.
        codec: Codec of the shard folder, from its manifest.
        phones: The file of labels that were added to the shard; None for the labels in it.

    Raises:
        DataError: The shard is missing or damaged.
    """
    rows = _rows(path, row_group, COLUMNS)
    if phones is not None:
        labels = _rows(phones, row_group, ("utterance_id", "phones"))
        if [row["utterance_id"] for row in labels] != [row["utterance_id"] for row in rows]:
            raise other_content(phones)
        rows = [{**row, "phones": label["phones"]} for row, label in zip(rows, labels, strict=True)]
    for row in rows:
        yield _utterance(row, codec, path)


def _rows(path: str, row_group: int, columns: Sequence[str]) -> list[dict[str, Any]]:
    table = read_row_group(path, row_group, columns)
    values = (column_values(table, name, path) for name in columns)
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def column_values(table: pa.Table, column: str, path: str) -> list[Any]:
    """The values of a column of a row group.

    Args:
        table: The row group.
        column: Name of the column.
        path: The shard, for messages.

    Raises:
        DataError: A value is damaged, such as text that is not UTF-8.
    """
    try:
        return list(table[column].to_pylist())
    except DAMAGE as error:
        raise unreadable(f"column {column} of shard {path}", error) from error


def read_lengths(shards: Location, split: str) -> dict[str, int]:
    """Utterance id → number of samples, in shard order. Only manifest and index are read.

    Raises:
        DataError: The manifest or the index is missing or damaged.
    """
    return _column(shards, read_manifest(shards), split, "num_samples")


def read_speakers(shards: Location, split: str) -> dict[str, str]:
    """Utterance id → speaker id, in shard order. Only manifest and index are read.

    Raises:
        DataError: The manifest or the index is missing or damaged.
    """
    return _column(shards, read_manifest(shards), split, "speaker_id")


def _column(shards: Location, manifest: Manifest, split: str, column: str) -> dict[str, Any]:
    """Utterance id → value of one column of the index, in the index's order."""
    table = read_split(shards, manifest, split, ("utterance_id", column))
    return dict(zip(table["utterance_id"].to_pylist(), table[column].to_pylist(), strict=True))


DAMAGE = (OSError, pa.ArrowException, ValueError, LookupError, OverflowError, MemoryError)
"""What pyarrow raises for a damaged file: also for lengths, names and text that make no sense."""

FileState = tuple[int, int, int, int]
"""Size, times of the last change of content and of all else in nanoseconds, and inode of a local file."""

_verified: set[tuple[str, FileState, int, tuple[str, ...]]] = set()
"""Row groups whose checksums this process has compared: path, state of the file, number, and columns."""
MOST_VERIFIED = 65_536
"""Row groups that `_verified` holds, in about 20 MiB of memory; at one more it begins anew."""


def shard_footer(path: str) -> pq.FileMetaData:
    """The footer of a shard. It is parsed once per process, and again if the file has changed.

    Raises:
        DataError: The file is missing or damaged.
    """
    return read_cached(path, footer_of_file)


def footer_of_file(path: str) -> pq.FileMetaData:
    """`shard_footer` of this very file, be it a shard or a copy of one."""
    return _readers(path, _file_state(path), verify=True).footer


def read_row_group(path: str, row_group: int, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a row group of a shard, in this thread.

    Checksums of pages are compared when a process first reads them, and again if the file has changed. Shards of
    earlier versions have no checksums.

    Raises:
        DataError: The shard is missing or damaged.
    """
    return read_cached(path, lambda at: read_row_group_of_file(at, row_group, columns))


def read_row_group_of_file(path: str, row_group: int, columns: Sequence[str]) -> pa.Table:
    """`read_row_group` of this very file, be it a shard or a copy of one."""
    state = _file_state(path)
    known = None if state is None else (path, state, row_group, tuple(columns))
    with _readers(path, state, verify=known not in _verified).borrowed() as shard:
        table = read_opened_row_group(shard, path, row_group, columns)
    if known is not None:
        if len(_verified) >= MOST_VERIFIED:
            _verified.clear()
        _verified.add(known)
    return table


def read_opened_row_group(
    shard: pq.ParquetFile, path: str, row_group: int, columns: Sequence[str]
) -> pa.Table:
    """Read some columns of a row group of an open shard, in this thread.

    Raises:
        DataError: The shard is damaged.
    """
    try:
        table = shard.read_row_group(row_group, columns=list(columns), use_threads=False)
        expected = shard.metadata.row_group(row_group).num_rows
    except DAMAGE as error:
        raise unreadable(f"row group {row_group} of shard {path}", error) from error
    if table.num_rows != expected or set(table.column_names) != set(columns):
        raise other_content(path)
    return table


def _file_state(path: str) -> FileState | None:
    """State of a local file; None for a file on other storage, where looking it up costs as much as reading it."""
    location = Location(path)
    if not location.is_local:
        return None
    try:
        return file_state(location.local_path.stat())
    except OSError as error:
        raise unreadable(f"shard {path}", error) from error


def file_state(found: os.stat_result) -> FileState:
    """The state of a local file, from what the system says of it."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


class _Readers:
    """The open files of one shard, of which each thread borrows one.

    Arrow keeps the byte ranges of a read from remote storage in the file's reader: two threads that read by one reader
    lose each other's, which ends the process, or lets it wait for ever.
    """

    def __init__(self, path: str, verify: bool) -> None:
        self._path, self._verify = path, verify
        self._footer: pq.FileMetaData | None = None
        self._idle: list[pq.ParquetFile] = []

    @property
    def footer(self) -> pq.FileMetaData:
        """The file's footer, which threads share."""
        if self._footer is None:
            with self.borrowed():
                pass
        return self._footer

    @contextmanager
    def borrowed(self) -> Iterator[pq.ParquetFile]:
        """A reader for this thread; one that failed is not lent again."""
        try:
            shard = self._idle.pop()
        except IndexError:
            shard = open_anew(self._path, verify=self._verify, footer=self._footer)
            self._footer = shard.metadata
        yield shard
        self._idle.append(shard)


@lru_cache(maxsize=32)
def _readers(path: str, state: FileState | None, *, verify: bool) -> _Readers:
    return _Readers(path, verify)


def open_anew(path: str, *, verify: bool = True, footer: pq.FileMetaData | None = None) -> pq.ParquetFile:
    """Open a shard, or labels beside one, for one thread.

    Args:
        path: Path or URI of the file.
        verify: Compare the checksums of pages when they are read.
        footer: The file's footer, if it was read before.

    Raises:
        DataError: The file is missing or damaged.
    """
    # The file is not mapped into memory: reading a mapped file that another program shortens kills the process.
    location = Location(path)
    try:
        source = location.local_path if location.is_local else location.open_input()
        return pq.ParquetFile(
            source, metadata=footer, pre_buffer=not location.is_local, page_checksum_verification=verify
        )
    except DAMAGE as error:
        raise unreadable(f"shard {path}", error) from error


def unreadable(what: str, error: Exception) -> DataError:
    """The error for a shard that cannot be read, with the reason that Arrow or the system states."""
    reason = " ".join(str(error).split())  # Arrow's messages may have several lines
    return DataError(f"{what} cannot be read ({reason}); check the folder with `vgim data info --verify`")


def other_content(path: str) -> DataError:
    """The error for a shard that holds other utterances than the index says."""
    return DataError(
        f"shard {path} holds other utterances than index.parquet says; copy the folder again, or remove it and run "
        "`vgim data prepare` again"
    )


def undecodable(path: str, reason: str) -> DataError:
    """The error for a shard whose FLAC does not decode."""
    return DataError(f"shard {path} holds FLAC that does not decode ({reason}); prepare it again")


def _utterance(row: dict[str, Any], codec: str, path: str) -> Utterance:
    if codec == "flac":
        try:
            audio = decode(row["audio"]).samples
        except AudioProblem as problem:
            raise undecodable(path, problem.reason) from problem
    elif row["audio"] is None or len(row["audio"]) % 2:
        raise other_content(path)
    else:
        audio = np.frombuffer(row["audio"], "<i2").astype(np.int16)
    return Utterance(
        utterance_id=row["utterance_id"],
        speaker_id=row["speaker_id"],
        transcript=row["transcript"],
        audio=audio,
        phones=None if row["phones"] is None else np.array(row["phones"], np.int16),
        mean=row["audio_mean"],
        std=row["audio_std"],
    )
