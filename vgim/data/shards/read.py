"""Whole utterances with their labels, read from shards: what the jobs after training look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vgim.config.schema import DataConfig
from vgim.data.audio import AudioProblem, decode
from vgim.data.shards.manifest import INDEX_NAME, Manifest
from vgim.data.stream.crops import HOP_SAMPLES
from vgim.data.stream.cut import I16, open_shard
from vgim.errors import DataError
from vgim.storage import Location

COLUMNS = ["utterance_id", "speaker_id", "transcript", "audio", "phones", "audio_mean", "audio_std"]


@dataclass(frozen=True)
class Utterance:
    """One row of a shard."""

    utterance_id: str
    speaker_id: str
    transcript: str
    audio: I16
    """[num_samples], 16 kHz mono."""
    phones: I16 | None
    """Class per 10 ms, [num_labels]; None where there are none."""
    mean: float
    """Of the audio as float PCM in [-1, 1]."""
    std: float


def read_utterances(shards: Location, manifest: Manifest, split: str, limit: int = 0) -> Iterator[Utterance]:
    """The utterances of a split in shard order, a row group in memory at a time.

    Shards are laid out in hash order, so that the first ones are a random choice.

    Args:
        limit: At most so many; 0 for all.

    Raises:
        DataError: The split is empty, or a shard is missing or damaged.
    """
    summary = manifest.split(split)
    if not summary.utterances:
        raise DataError(f"{shards.uri} has no {split} split; prepare it again with a fraction above 0")
    count = 0
    for shard in summary.shards:
        path = shards.child(shard.path).uri
        file = open_shard(path)
        for row_group in range(file.metadata.num_row_groups):
            for row in _rows(file, row_group, path):
                yield _utterance(row, manifest.codec, path)
                count += 1
                if count == limit:
                    return


def read_lengths(shards: Location, split: str) -> dict[str, int]:
    """Samples of every utterance of a split, by its id, in shard order; only the index is read."""
    with shards.child(INDEX_NAME).open_input() as source:
        table = pq.read_table(
            source, columns=["utterance_id", "num_samples"], filters=[("split", "=", split)]
        )
    return dict(zip(table["utterance_id"].to_pylist(), table["num_samples"].to_pylist(), strict=True))


def first_crop(audio: I16, config: DataConfig) -> I16 | None:
    """The first crop that training could have cut, [crop_samples]; None where the utterance is too short.

    `random` crops start at 160 samples at the earliest, others at 0; `first` pads with zeros.
    """
    start = HOP_SAMPLES if config.crop == "random" else 0
    crop = audio[start : start + config.crop_samples]
    if len(crop) == config.crop_samples:
        return crop
    return np.pad(crop, (0, config.crop_samples - len(crop))) if config.crop == "first" else None


def _rows(file: pq.ParquetFile, row_group: int, path: str) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = file.read_row_group(row_group, columns=COLUMNS).to_pylist()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"row group {row_group} of shard {path} cannot be read ({reason}); "
            "check the folder with `vgim data info --verify`"
        ) from error
    return rows


def _utterance(row: dict[str, Any], codec: str, path: str) -> Utterance:
    if codec == "flac":
        try:
            audio = decode(row["audio"]).samples
        except AudioProblem as problem:
            raise DataError(
                f"shard {path} holds FLAC that does not decode ({problem.reason}); prepare it again"
            ) from problem
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
