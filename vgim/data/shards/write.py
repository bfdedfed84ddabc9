"""One Parquet shard: which utterances it gets, how it is written, and the record that lets a run resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from vgim.data.audio import PCM16_SCALE, AudioProblem, DecodedAudio, decode, encode_flac
from vgim.data.corpora.corpus import SourceUtterance
from vgim.data.corpora.phone_labels import Phones, fits
from vgim.data.shards.manifest import (
    PROGRESS_DIR,
    SAMPLE_RATE_HZ,
    SPLITS,
    Codec,
    ManifestModel,
    ShardEntry,
    Skipped,
)
from vgim.data.shards.splits import hash_order
from vgim.errors import StorageError
from vgim.storage import Location

TARGET_SHARD_BYTES = 128 * 1024 * 1024
ROW_GROUP_BYTES = 8 * 1024 * 1024
"""Audio in a row group, the unit a stream reads and shuffles."""
ROW_GROUP_ROWS = 64

SHARD_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("chapter_id", pa.string()),
        ("split", pa.string()),
        ("num_samples", pa.int64()),
        ("sample_rate", pa.int32()),
        ("audio", pa.large_binary()),
        ("transcript", pa.string()),
        ("phones", pa.list_(pa.int16())),
        ("audio_mean", pa.float32()),
        ("audio_std", pa.float32()),
    ]
)
INDEX_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("chapter_id", pa.string()),
        ("split", pa.string()),
        ("shard", pa.int32()),
        ("row_group", pa.int32()),
        ("row", pa.int32()),
        ("num_samples", pa.int64()),
        ("audio_mean", pa.float32()),
        ("audio_std", pa.float32()),
    ]
)
_PACKED = ["utterance_id", "speaker_id", "chapter_id", "split", "transcript", "phones.list.element"]


@dataclass(frozen=True)
class ReadOptions:
    """How a source file becomes a row."""

    codec: Codec
    min_samples: int
    resample: bool
    mixdown: bool
    strict: bool


@dataclass(frozen=True)
class ShardPlan:
    """All a worker needs to write one shard, wherever it runs."""

    split: str
    number: int
    corpus_root: str
    utterances: tuple[SourceUtterance, ...]
    phones: Mapping[str, Phones]
    digest: str
    """Hash of all that shapes the shard; a finished one with the same digest need not be written again."""

    @property
    def path(self) -> str:
        """Relative to the shard folder."""
        return f"{self.split}/{self.number:05d}.parquet"


class IndexRow(ManifestModel):
    """Where an utterance lies; the columns of index.parquet that the shard's plan does not hold."""

    utterance_id: str
    speaker_id: str
    chapter_id: str
    row_group: int
    row: int
    num_samples: int
    audio_mean: float
    audio_std: float


class ShardResult(ManifestModel):
    """What came of a plan; kept beside the shards until the manifest is written."""

    digest: str
    split: str
    number: int
    entry: ShardEntry
    rows: tuple[IndexRow, ...]
    skipped: tuple[Skipped, ...]
    sample_sum: int
    """Exact sums over int16 samples, so that the corpus's do not depend on the order of adding."""
    sample_square_sum: int
    misfit_labels: tuple[str, ...] = ()
    """Utterances whose labels are too few or too many for their audio; they have none."""


def plan_shards(
    utterances: Sequence[SourceUtterance],
    split_of: Mapping[str, str],
    *,
    corpus_root: str,
    phones: Mapping[str, Phones],
    bytes_per_file_byte: float,
    target_shard_bytes: int,
    seed: int,
    options_digest: str,
) -> list[ShardPlan]:
    """Lay each split out in hash order and cut it into shards of about the target size, by file sizes."""
    plans = []
    for split in SPLITS:
        chosen = [item for item in utterances if split_of.get(item.utterance_id) == split]
        chosen.sort(key=lambda item: (hash_order(item.utterance_id, seed), item.utterance_id))
        total = sum(item.size_bytes for item in chosen) * bytes_per_file_byte
        num_shards = min(len(chosen), max(1, round(total / target_shard_bytes))) if chosen else 0
        groups: list[list[SourceUtterance]] = [[] for _ in range(num_shards)]
        before = 0.0
        for item in chosen:  # by the middle of each file, so that every shard gets its even part
            middle = before + item.size_bytes * bytes_per_file_byte / 2
            groups[min(num_shards - 1, int(middle / max(total, 1) * num_shards))].append(item)
            before += item.size_bytes * bytes_per_file_byte
        for number, group in enumerate(group for group in groups if group):
            labels = {
                item.utterance_id: phones[item.utterance_id] for item in group if item.utterance_id in phones
            }
            plans.append(
                ShardPlan(
                    split=split,
                    number=number,
                    corpus_root=corpus_root,
                    utterances=tuple(group),
                    phones=labels,
                    digest=_digest(options_digest, split, number, group, labels),
                )
            )
    return plans


def _digest(
    options_digest: str,
    split: str,
    number: int,
    group: Sequence[SourceUtterance],
    labels: Mapping[str, Phones],
) -> str:
    digest = hashlib.sha256(f"{options_digest} {split} {number}\n".encode())
    for item in group:
        facts = [
            item.utterance_id,
            item.speaker_id,
            item.chapter_id,
            item.path,
            item.size_bytes,
            item.transcript,
        ]
        digest.update(json.dumps(facts).encode())
        if item.utterance_id in labels:
            digest.update(labels[item.utterance_id].tobytes())
    return digest.hexdigest()


def finished(plan: ShardPlan, out: Location) -> ShardResult | None:
    """The record of the shard, if an earlier call wrote just this plan and the file is still whole."""
    record = _record_place(plan, out)
    if not record.exists():
        return None
    try:
        result = ShardResult.model_validate_json(record.read_text())
    except ValidationError:
        return None
    shard = out.child(plan.path)
    if result.digest != plan.digest or not shard.exists() or shard.size() != result.entry.bytes:
        return None
    return result


def _record_place(plan: ShardPlan, out: Location) -> Location:
    return out.child(PROGRESS_DIR, f"{plan.split}-{plan.number:05d}.json")


def write_shard(plan: ShardPlan, out: Location, options: ReadOptions) -> ShardResult:
    """Decode the plan's files and write its shard, then its record.

    Files that cannot be used are skipped and listed; with `strict` it stops at the first, writes nothing and
    returns with that one in `skipped`.
    """
    skipped: list[Skipped] = []
    misfits: list[str] = []
    rows: list[IndexRow] = []
    sums = [0, 0]
    place = out.child(plan.path)
    with place.atomic_output() as file:
        sink = _HashingSink(file)
        with pq.ParquetWriter(
            sink,
            SHARD_SCHEMA,
            compression={name: "none" if name == "audio" else "zstd" for name in _leaf_names()},
            use_dictionary=[name for name in _PACKED if name != "utterance_id"],
            column_encoding={"audio": "PLAIN"},
            write_statistics=["num_samples"],
        ) as writer:
            for row_group, batch in enumerate(_row_groups(_rows(plan, options, skipped, misfits, sums))):
                writer.write_table(
                    pa.Table.from_pylist(batch, schema=SHARD_SCHEMA), row_group_size=len(batch)
                )
                rows.extend(_index_row(row, row_group, number) for number, row in enumerate(batch))
    if options.strict and skipped:
        place.delete()
    entry = ShardEntry(path=plan.path, utterances=len(rows), bytes=sink.size, sha256=sink.digest.hexdigest())
    result = ShardResult(
        digest=plan.digest,
        split=plan.split,
        number=plan.number,
        entry=entry,
        rows=tuple(rows),
        skipped=tuple(skipped),
        sample_sum=sums[0],
        sample_square_sum=sums[1],
        misfit_labels=tuple(misfits),
    )
    if not (options.strict and skipped):
        _record_place(plan, out).write_bytes_atomic(result.model_dump_json().encode())
    return result


def _rows(
    plan: ShardPlan, options: ReadOptions, skipped: list[Skipped], misfits: list[str], sums: list[int]
) -> Iterator[dict[str, Any]]:
    """Rows of the shard in order; notes skipped utterances, labels that do not fit, and sums on the way."""
    root = Location(plan.corpus_root)
    for item in plan.utterances:
        try:
            data = _read(root.child(item.path))
            clip = decode(data, resample=options.resample, mixdown=options.mixdown)
            if len(clip.samples) < options.min_samples:
                raise AudioProblem(
                    "too short", f"{len(clip.samples)} samples, at least {options.min_samples} needed"
                )
        except AudioProblem as problem:
            skipped.append(Skipped(path_or_id=item.path, kind=problem.kind, reason=problem.reason))
            if options.strict:
                return
            continue
        phones = plan.phones.get(item.utterance_id)
        if phones is not None and not fits(len(phones), len(clip.samples)):
            misfits.append(item.utterance_id)
            phones = None
        yield _row(item, plan.split, clip, data, phones, options.codec, sums)


def _read(file: Location) -> bytes:
    try:
        return file.read_bytes()
    except StorageError as error:
        raise AudioProblem("unreadable", str(error)) from error


def _row(
    item: SourceUtterance,
    split: str,
    clip: DecodedAudio,
    data: bytes,
    phones: Phones | None,
    codec: Codec,
    sums: list[int],
) -> dict[str, Any]:
    count = len(clip.samples)
    wide = clip.samples.astype(np.int64)
    total, squares = int(wide.sum()), int(wide @ wide)
    sums[0] += total
    sums[1] += squares
    mean, std = moments(total, squares, count)
    if codec == "pcm16":
        audio = clip.samples.astype("<i2").tobytes()
    else:
        audio = data if clip.is_plain_flac else encode_flac(clip.samples)
    return {
        "utterance_id": item.utterance_id,
        "speaker_id": item.speaker_id,
        "chapter_id": item.chapter_id,
        "split": split,
        "num_samples": count,
        "sample_rate": SAMPLE_RATE_HZ,
        "audio": audio,
        "transcript": item.transcript,
        "phones": phones,
        "audio_mean": mean,
        "audio_std": std,
    }


def moments(sample_sum: int, square_sum: int, count: int) -> tuple[float, float]:
    """Mean and deviation of float PCM in [-1, 1] from exact sums over int16 samples."""
    if count == 0:
        return 0.0, 0.0
    variance = (square_sum * count - sample_sum * sample_sum) / (
        count * count
    )  # exact integers, then one division
    return sample_sum / count / PCM16_SCALE, float(np.sqrt(variance)) / PCM16_SCALE


def _row_groups(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    held = 0
    for row in rows:
        if batch and (len(batch) == ROW_GROUP_ROWS or held + len(row["audio"]) > ROW_GROUP_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(row)
        held += len(row["audio"])
    if batch:
        yield batch


def _index_row(row: dict[str, Any], row_group: int, number: int) -> IndexRow:
    return IndexRow(
        row_group=row_group,
        row=number,
        **{
            name: row[name]
            for name in ("utterance_id", "speaker_id", "chapter_id", "num_samples", "audio_mean", "audio_std")
        },
    )


def index_table(results: Sequence[ShardResult]) -> pa.Table:
    """index.parquet: a row per utterance in the order split, shard, row group, row."""
    ordered = sorted(results, key=lambda result: (SPLITS.index(result.split), result.number))
    rows = [
        {**row.model_dump(), "split": result.split, "shard": result.number}
        for result in ordered
        for row in result.rows
    ]
    return pa.Table.from_pylist(rows, schema=INDEX_SCHEMA)


def _leaf_names() -> list[str]:
    return ["phones.list.element" if name == "phones" else name for name in SHARD_SCHEMA.names]


class _HashingSink:
    """A binary file that knows the hash and size of what went through it, so that no shard is read back."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size = 0
        self.closed = False

    def write(self, data: Any) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self._file.flush()

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        """The file itself is closed, synced and renamed by its owner."""
        self.closed = True
