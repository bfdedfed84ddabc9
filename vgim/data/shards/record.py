"""The record of a finished shard. It is kept beside the shards until the manifest is written, for resuming."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
from pydantic import ValidationError

from vgim.data.corpora.corpus import Skipped
from vgim.data.shards.columns import INDEX_SCHEMA, RECORDING_FIELD
from vgim.data.shards.manifest import PROGRESS_DIR, SPLITS, ManifestModel, ShardEntry
from vgim.storage import Location


class IndexRow(ManifestModel):
    """One utterance's row of index.parquet, without the columns `split` and `shard`."""

    utterance_id: str
    speaker_id: str
    chapter_id: str
    row_group: int
    row: int
    num_samples: int
    audio_mean: float
    audio_std: float
    recording_id: str | None = None
    """Recording that it is cut from, if its id does not tell."""


class Planned(Protocol):
    """A shard that is to be written."""

    @property
    def split(self) -> str:
        """The split."""

    @property
    def number(self) -> int:
        """Number of the shard in its split."""

    @property
    def path(self) -> str:
        """Path of the shard, relative to the shard folder."""

    @property
    def digest(self) -> str:
        """Hash of all that shapes the shard."""


class ShardResult(ManifestModel):
    """A written shard: its entry in the manifest, its rows in the index, and what was skipped."""

    digest: str
    """The plan's digest."""
    split: str
    number: int
    entry: ShardEntry
    rows: tuple[IndexRow, ...]
    skipped: tuple[Skipped, ...]
    sample_sum: int
    """Sum over all int16 samples. It is exact, so the corpus's mean does not depend on the order of adding."""
    sample_square_sum: int
    misfit_labels: tuple[str, ...] = ()
    """Utterances whose labels are too few or too many for their audio, and are therefore left out."""
    sources: str = ""
    """Hash of the stamps that the files had before they were read; empty in records of earlier versions."""


def read_record(plan: Planned, out: Location) -> ShardResult | None:
    """The record of a plan's shard; None unless an earlier call wrote this plan and the file is still whole."""
    record = _record_path(plan, out)
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


def write_record(plan: Planned, out: Location, result: ShardResult) -> None:
    """Mark the plan's shard as finished."""
    _record_path(plan, out).write_bytes_atomic(result.model_dump_json().encode())


def _record_path(plan: Planned, out: Location) -> Location:
    return out.child(PROGRESS_DIR, f"{plan.split}-{plan.number:05d}.json")


def index_table(results: Sequence[ShardResult]) -> pa.Table:
    """The content of index.parquet: a row per utterance, ordered by split, shard, row group and row."""
    ordered = sorted(results, key=lambda result: (SPLITS.index(result.split), result.number))
    is_needed = any(row.recording_id is not None for result in ordered for row in result.rows)
    schema = INDEX_SCHEMA.append(RECORDING_FIELD) if is_needed else INDEX_SCHEMA
    tables = [
        pa.Table.from_pylist(
            [{**row.model_dump(), "split": result.split, "shard": result.number} for row in result.rows],
            schema=schema,
        )
        for result in ordered  # one by one: as dictionaries, all rows of a large corpus would fill the memory
    ]
    return pa.concat_tables([schema.empty_table(), *tables]).combine_chunks()
