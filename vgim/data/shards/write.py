"""Write one Parquet shard: decode the files of its plan, and count what cannot be used."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vgim.data.archives.random_access import opened
from vgim.data.audio import BLOCK_SAMPLES, DecodedAudio, decode, decode_local, encode_flac
from vgim.data.audio_problem import AudioProblem
from vgim.data.corpora.corpus import Skipped, SourceUtterance
from vgim.data.corpora.phone_labels import Phones, fits
from vgim.data.foreign import own_problems, read_foreign
from vgim.data.pcm import PCM16_SCALE, SAMPLE_RATE_HZ, Pcm16
from vgim.data.shards.columns import COMPRESSION, DICTIONARY_COLUMNS, RECORDING_FIELD, SHARD_SCHEMA
from vgim.data.shards.manifest import Codec, ShardEntry
from vgim.data.shards.plan import ShardPlan
from vgim.data.shards.record import IndexRow, ShardResult, write_record
from vgim.data.source import Source
from vgim.storage import Location, storage_errors

ROW_GROUP_BYTES = 8 * 1024 * 1024
"""Audio in a row group, the unit that a stream reads and shuffles."""
ROW_GROUP_ROWS = 64

Row = dict[str, Any]
"""Values by the names of SHARD_SCHEMA."""


@dataclass(frozen=True)
class ReadOptions:
    """How an audio file becomes a row of a shard."""

    codec: Codec
    min_samples: int
    resample: bool
    mixdown: bool
    strict: bool


@dataclass
class _Tally:
    """What is added up while a shard's rows are written."""

    skipped: list[Skipped] = field(default_factory=list)
    misfit_labels: list[str] = field(default_factory=list)
    sample_sum: int = 0
    sample_square_sum: int = 0


def write_shard(
    plan: ShardPlan, out: Location, options: ReadOptions, on_utterance: Callable[[], None] = lambda: None
) -> ShardResult:
    """Decode the plan's files and write its shard, then its record.

    Files that cannot be used are skipped and listed. With `options.strict` the first such file ends the work: no
    shard and no record is left, and the file is the only one in the result's `skipped`.

    Args:
        plan: The shard's utterances, and their files.
        out: The shard folder.
        options: How files become rows.
        on_utterance: Called for each utterance that is read, skipped ones included.

    Returns:
        What the shard holds, and what was skipped.

    Raises:
        StorageError: The shard cannot be written.
    """
    tally = _Tally()
    index_rows: list[IndexRow] = []
    shard = out.child(plan.path)
    sources = plan.sources()
    with opened(plan.corpus_root) as root, shard.atomic_output() as file:
        sink = HashingSink(file)
        with shard_writer(sink) as writer:
            for row_group, rows in enumerate(_row_groups(_rows(plan, root, options, tally, on_utterance))):
                writer.write_table(pa.Table.from_pylist(rows, schema=SHARD_SCHEMA), row_group_size=len(rows))
                index_rows.extend(_index_row(row, row_group, number) for number, row in enumerate(rows))
    result = ShardResult(
        digest=plan.digest,
        split=plan.split,
        number=plan.number,
        entry=ShardEntry(
            path=plan.path, utterances=len(index_rows), bytes=sink.size, sha256=sink.digest.hexdigest()
        ),
        rows=tuple(index_rows),
        skipped=tuple(tally.skipped),
        sample_sum=tally.sample_sum,
        sample_square_sum=tally.sample_square_sum,
        misfit_labels=tuple(tally.misfit_labels),
        sources=sources,
    )
    if options.strict and tally.skipped:
        shard.delete()
    else:
        write_record(plan, out, result)
    return result


def shard_writer(sink: HashingSink) -> pq.ParquetWriter:
    """A writer of row groups of SHARD_SCHEMA."""
    return pq.ParquetWriter(
        sink,
        SHARD_SCHEMA,
        compression=COMPRESSION,
        use_dictionary=DICTIONARY_COLUMNS,
        column_encoding={"audio": "PLAIN"},
        write_statistics=["num_samples"],
        write_page_checksum=True,
    )


def _rows(
    plan: ShardPlan, root: Source, options: ReadOptions, tally: _Tally, on_utterance: Callable[[], None]
) -> Iterator[Row]:
    """Rows of the shard in order. Skipped files, labels that do not fit and sums are added to `tally`."""
    for item in plan.utterances:
        on_utterance()
        try:
            with own_problems(root):
                clip, data = _read(root.child(item.path), item, options)
            if len(clip.samples) < options.min_samples:
                raise AudioProblem(
                    "too short", f"{len(clip.samples)} samples, at least {options.min_samples} needed"
                )
        except AudioProblem as problem:
            tally.skipped.append(Skipped(path_or_id=item.path, kind=problem.kind, reason=problem.reason))
            if options.strict:
                return
            continue
        phones = plan.phones.get(item.utterance_id)
        if phones is not None and not fits(len(phones), len(clip.samples)):
            tally.misfit_labels.append(item.utterance_id)
            phones = None
        yield _row(item, plan.split, clip, data, phones, options.codec, tally)


def _read(file: Source, item: SourceUtterance, options: ReadOptions) -> tuple[DecodedAudio, bytes]:
    """The audio of an utterance, and its file's bytes, if it is a whole file.

    Raises:
        AudioProblem: The file cannot be used.
        StorageError: The file cannot be read.
    """
    how = {"resample": options.resample, "mixdown": options.mixdown}
    if item.segment_s is None or not isinstance(file, Location) or not file.is_local:
        data = read_foreign(file, item.size_bytes)
        return decode(data, **how, segment_s=item.segment_s), data
    with storage_errors("read", file.uri, kinds=(OSError,)):
        clip = decode_local(file.local_path, item.size_bytes, **how, segment_s=item.segment_s)
    return clip, b""


def _row(
    item: SourceUtterance,
    split: str,
    clip: DecodedAudio,
    data: bytes,
    phones: Phones | None,
    codec: Codec,
    tally: _Tally,
) -> Row:
    num_samples = len(clip.samples)
    sample_sum, square_sum = _sums(clip.samples)
    tally.sample_sum += sample_sum
    tally.sample_square_sum += square_sum
    mean, std = mean_and_std(sample_sum, square_sum, num_samples)
    if codec == "pcm16":
        audio = clip.samples.astype("<i2").tobytes()
    else:
        audio = data if clip.is_plain_flac else encode_flac(clip.samples)
    return {
        "utterance_id": item.utterance_id,
        "speaker_id": item.speaker_id,
        "chapter_id": item.chapter_id,
        "split": split,
        "num_samples": num_samples,
        "sample_rate": SAMPLE_RATE_HZ,
        "audio": audio,
        "transcript": item.transcript,
        "phones": phones,
        "audio_mean": mean,
        "audio_std": std,
        RECORDING_FIELD.name: item.recording_id,  # of the index alone
    }


def _sums(samples: Pcm16) -> tuple[int, int]:
    """Sum of all samples and of their squares; a block at a time, since int64 takes four times the memory."""
    sample_sum = square_sum = 0
    for start in range(0, len(samples), BLOCK_SAMPLES):
        wide = samples[start : start + BLOCK_SAMPLES].astype(np.int64)
        sample_sum += int(wide.sum())
        square_sum += int(wide @ wide)
    return sample_sum, square_sum


def mean_and_std(sample_sum: int, square_sum: int, num_samples: int) -> tuple[float, float]:
    """Mean and standard deviation of float PCM in [-1, 1], from exact sums over int16 samples."""
    if num_samples == 0:
        return 0.0, 0.0
    # integers of any size are exact in Python; only the last division rounds
    variance = (square_sum * num_samples - sample_sum * sample_sum) / (num_samples * num_samples)
    return sample_sum / num_samples / PCM16_SCALE, float(np.sqrt(variance)) / PCM16_SCALE


def _row_groups(rows: Iterator[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    group_bytes = 0
    for row in rows:
        if group and (len(group) == ROW_GROUP_ROWS or group_bytes + len(row["audio"]) > ROW_GROUP_BYTES):
            yield group
            group, group_bytes = [], 0
        group.append(row)
        group_bytes += len(row["audio"])
    if group:
        yield group


def _index_row(row: Row, row_group: int, number: int) -> IndexRow:
    return IndexRow(
        row_group=row_group,
        row=number,
        recording_id=row[RECORDING_FIELD.name],
        **{
            name: row[name]
            for name in ("utterance_id", "speaker_id", "chapter_id", "num_samples", "audio_mean", "audio_std")
        },
    )


class HashingSink:
    """A binary file that hashes and counts the bytes written to it, so that no shard is read back."""

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
        """Only marks the sink: `atomic_output` closes, syncs and renames the file itself."""
        self.closed = True
