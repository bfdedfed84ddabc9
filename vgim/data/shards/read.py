"""Read shards: whole utterances with their labels, lengths, and single row groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vgim.data.audio import AudioProblem, decode
from vgim.data.corpora.phone_labels import Phones
from vgim.data.pcm import Pcm16
from vgim.data.shards.manifest import INDEX_NAME, Manifest
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
    num_read = 0
    for shard in summary.shards:
        path = shards.child(shard.path).uri
        for row_group in range(open_shard(path).metadata.num_row_groups):
            for row in read_row_group(path, row_group, COLUMNS).to_pylist():
                yield _utterance(row, manifest.codec, path)
                num_read += 1
                if num_read == limit:
                    return


def read_lengths(shards: Location, split: str) -> dict[str, int]:
    """Utterance id → number of samples, in shard order. Only the index is read."""
    with shards.child(INDEX_NAME).open_input() as source:
        table = pq.read_table(
            source, columns=["utterance_id", "num_samples"], filters=[("split", "=", split)]
        )
    return dict(zip(table["utterance_id"].to_pylist(), table["num_samples"].to_pylist(), strict=True))


def read_speakers(shards: Location, split: str) -> dict[str, str]:
    """Utterance id → speaker id, in shard order. Only the index is read."""
    with shards.child(INDEX_NAME).open_input() as source:
        table = pq.read_table(source, columns=["utterance_id", "speaker_id"], filters=[("split", "=", split)])
    return dict(zip(table["utterance_id"].to_pylist(), table["speaker_id"].to_pylist(), strict=True))


@lru_cache(maxsize=16)
def open_shard(path: str) -> pq.ParquetFile:
    """Open a shard; its footer is parsed once per process, since shards are never rewritten in place.

    Raises:
        DataError: The file is missing or damaged.
    """
    location = Location(path)
    try:
        if location.is_local:
            return pq.ParquetFile(location.local_path, memory_map=True)
        return pq.ParquetFile(location.open_input(), pre_buffer=True)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(f"shard {path}", error) from error


def read_row_group(path: str, row_group: int, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a row group of a shard, in this thread.

    Raises:
        DataError: The shard is missing or damaged.
    """
    try:
        return open_shard(path).read_row_group(row_group, columns=list(columns), use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(f"row group {row_group} of shard {path}", error) from error


def _unreadable(what: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())  # Arrow's messages may have several lines
    return DataError(f"{what} cannot be read ({reason}); check the folder with `vgim data info --verify`")


def undecodable(path: str, reason: str) -> DataError:
    """The error for a shard whose FLAC does not decode."""
    return DataError(f"shard {path} holds FLAC that does not decode ({reason}); prepare it again")


def _utterance(row: dict[str, Any], codec: str, path: str) -> Utterance:
    if codec == "flac":
        try:
            audio = decode(row["audio"]).samples
        except AudioProblem as problem:
            raise undecodable(path, problem.reason) from problem
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
