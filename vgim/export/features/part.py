"""Writes the features of one part of a corpus, and the part's record last."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from vgim.arrays import F32
from vgim.errors import VgimError
from vgim.export.features.corpus import Clip, Part, Skipped, read_clips
from vgim.export.features.encode import Encoded, encode_clips
from vgim.export.features.options import FileForm, Kind
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.storage import Location

PROGRESS_DIR = ".features"
"""Folder with a record of each finished part, while features are written; deleted at the end."""


class Row(BaseModel):
    """The features of an utterance by a module."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    utterance_id: str
    speaker_id: str
    module: int
    num_samples: int
    num_frames: int
    channels: int
    file: str
    """Path below the folder of features."""


class SkippedRow(BaseModel):
    """An utterance without features."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    utterance_id: str
    reason: str


class PartRecord(BaseModel):
    """What was written of a part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: tuple[Row, ...]
    skipped: tuple[SkippedRow, ...]
    conversions: dict[str, int]
    """Number of sound files whose samples were converted, by what was done."""


@dataclass(frozen=True)
class FeatureWork:
    """Everything that a part needs beside itself, as text that can be sent to workers."""

    out: str
    encoder: str
    """Checkpoint, exported folder or hf://OWNER/NAME@COMMIT."""
    modules: tuple[int, ...]
    """Indices, counted from the input, ascending."""
    kind: Kind
    form: FileForm
    seed: int
    device: str


def record_path(out: Location, part: Part) -> Location:
    """The record of a part."""
    return out.child(PROGRESS_DIR, f"part-{part.name}.json")


def write_part_on_ray(work: FeatureWork, part: Part, log: Callable[[str], None]) -> VgimError | None:
    """Write a part in a task of its own; returns the error that a user caused."""
    try:
        write_part(work, part, _encoder(work.encoder, work.device))
    except VgimError as error:
        return error
    return None


def write_part(
    work: FeatureWork, part: Part, encoder: FrozenEncoder, advance: Callable[[], None] = lambda: None
) -> PartRecord:
    """Write the features of a part, and its record last.

    Args:
        work: What to write, and where.
        part: A part of the corpus.
        encoder: The encoder.
        advance: Called for each utterance.

    Raises:
        DataError: A shard is damaged.
        StorageError: The storage cannot be read or written.
    """
    out = Location(work.out)
    skipped: list[Skipped] = []
    conversions: Counter[str] = Counter()
    stack = encoder.encoder
    shortest = max(stack.min_samples(module) for module in range(len(stack)))

    def usable() -> Iterator[Clip]:
        for clip in read_clips(part, conversions):
            if isinstance(clip, Clip) and len(clip.audio) < shortest:
                clip = Skipped(clip.utterance_id, f"{len(clip.audio)} samples make no frame of every module")
            if isinstance(clip, Skipped):
                skipped.append(clip)
                advance()
            else:
                yield clip

    rows: list[Row] = []
    with ExitStack() as opened:
        write = (
            _NpyFiles(out) if work.form == "npy" else _ParquetFiles(out, part, work.modules, encoder, opened)
        )
        for encoded in encode_clips(encoder, usable(), work.modules, work.kind, work.seed):
            files = write(encoded)
            rows += [_row(encoded, module, files[module]) for module in work.modules]
            advance()
    record = PartRecord(
        rows=tuple(sorted(rows, key=lambda row: (row.utterance_id, row.module))),
        skipped=tuple(SkippedRow(utterance_id=s.utterance_id, reason=s.reason) for s in skipped),
        conversions=dict(conversions),
    )
    record_path(out, part).write_bytes_atomic(record.model_dump_json().encode())
    return record


def _row(encoded: Encoded, module: int, file: str) -> Row:
    clip, features_TC = encoded.clip, encoded.features[module]
    return Row(
        utterance_id=clip.utterance_id,
        speaker_id=clip.speaker_id,
        module=module,
        num_samples=len(clip.audio),
        num_frames=features_TC.shape[0],
        channels=features_TC.shape[1],
        file=file,
    )


@lru_cache(maxsize=1)
def _encoder(where: str, device: str) -> FrozenEncoder:
    """The encoder of this process."""
    return load_encoder(where, device=device)


class _NpyFiles:
    """A file for each utterance and module: `module-M/ID.npy`, float32 [T, C]."""

    def __init__(self, out: Location) -> None:
        self._out = out

    def __call__(self, encoded: Encoded) -> dict[int, str]:
        files = {}
        for module, features_TC in encoded.features.items():
            files[module] = f"module-{module}/{file_name(encoded.clip.utterance_id)}.npy"
            self._out.child(files[module]).write_bytes_atomic(_npy(features_TC))
        return files


class _ParquetFiles:
    """A file for each module, with a row for each utterance: `module-M/PART.parquet`."""

    def __init__(
        self, out: Location, part: Part, modules: Sequence[int], encoder: FrozenEncoder, opened: ExitStack
    ) -> None:
        self._files: Mapping[int, str] = {
            module: f"module-{module}/{part.name}.parquet" for module in modules
        }
        self._writers: dict[int, Any] = {}
        for module, file in self._files.items():
            out_file = opened.enter_context(out.child(file).atomic_output())
            schema = _schema(encoder.encoder.channels(module))
            writer = pq.ParquetWriter(out_file, schema, write_page_checksum=True, use_dictionary=False)
            self._writers[module] = opened.enter_context(writer)

    def __call__(self, encoded: Encoded) -> dict[int, str]:
        clip = encoded.clip
        for module, features_TC in encoded.features.items():
            schema = self._writers[module].schema
            frames = pa.FixedSizeListArray.from_arrays(pa.array(features_TC.ravel()), features_TC.shape[1])
            rows = pa.ListArray.from_arrays(pa.array([0, len(features_TC)], pa.int32()), frames)
            columns = [
                [clip.utterance_id],
                [clip.speaker_id],
                [len(features_TC)],
                rows.cast(schema.field(3).type),
            ]
            self._writers[module].write_table(pa.table(columns, schema=schema))
        return dict(self._files)


def _schema(channels: int) -> pa.Schema:
    return pa.schema(
        [
            ("utterance_id", pa.string()),
            ("speaker_id", pa.string()),
            ("num_frames", pa.int64()),
            ("features", pa.list_(pa.list_(pa.float32(), channels))),
        ]
    )


def _npy(features_TC: F32) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(features_TC, np.float32), allow_pickle=False)
    return buffer.getvalue()


def file_name(utterance_id: str) -> str:
    """The path of an utterance's file, without ending, below the folder of its module.

    Folders in an id are kept; a part that would leave the folder, or that no file system takes, is escaped.
    """
    parts = [quote(part, safe=" ,+@=~()[]'!&;$") for part in utterance_id.split("/")]
    safe = [part.replace(".", "%2E") if set(part) <= {"."} else part for part in parts]
    if all(safe) and max(map(len, safe)) <= 200:
        return "/".join(safe)
    return f"id-{hashlib.sha256(utterance_id.encode()).hexdigest()[:32]}"
