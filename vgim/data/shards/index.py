"""Read `index.parquet`, which says where each utterance lies, and check it against the manifest.

The manifest holds the index's size and hash. Folders of earlier versions have neither; their index is checked by what
the manifest counts: utterances of each shard, and hours of each split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.shards.columns import INDEX_SCHEMA, RECORDING_FIELD
from vgim.data.shards.manifest import INDEX_NAME, Manifest
from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import first_line

HOURS_ROUNDED = 1e-6
"""Hours to which the manifest rounds a split's length."""


def check_index(shards: Location, manifest: Manifest) -> None:
    """Check that the index is the manifest's; without its hash in the manifest, that it says the same.

    Raises:
        DataError: The index is missing or damaged, or belongs to another folder.
        StorageError: The storage cannot be read.
    """
    if manifest.index is None:
        read_index(shards, manifest)
    else:
        _read_bytes(shards, manifest)


def read_index(shards: Location, manifest: Manifest, columns: Sequence[str] | None = None) -> pa.Table:
    """The index of a shard folder: a row per utterance.

    Args:
        shards: The shard folder.
        manifest: Its manifest.
        columns: Columns of INDEX_SCHEMA to read; None reads all.

    Raises:
        DataError: The index is missing or damaged, or belongs to another folder.
        StorageError: The storage cannot be read.
    """
    data = _read_bytes(shards, manifest)
    is_known = manifest.index is not None
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        if problem := _lacks(file.schema_arrow):
            raise _damaged(shards, problem)
        table = file.read(columns if is_known else None)
        table.validate(full=True)  # text that is not UTF-8
    except (OSError, pa.ArrowException) as error:
        raise _damaged(shards, first_line(error)) from error
    if is_known:
        return table
    if problem := _contradiction(table, manifest):
        raise _damaged(shards, problem)
    return table if columns is None else table.select(columns)


def read_split(shards: Location, manifest: Manifest, split: str, columns: Sequence[str]) -> pa.Table:
    """The rows of one split in the index of a shard folder.

    Args:
        shards: The shard folder.
        manifest: Its manifest.
        split: `train`, `validation` or `test`.
        columns: Columns of INDEX_SCHEMA to read.

    Raises:
        DataError: The index is missing or damaged, or belongs to another folder.
        StorageError: The storage cannot be read.
    """
    table = read_index(shards, manifest, [*columns, "split"])
    return of_split(table, split).select(columns)


def _read_bytes(shards: Location, manifest: Manifest) -> bytes:
    """The index's content, if it has the size and hash that the manifest states."""
    file = shards.child(INDEX_NAME)
    if not file.exists():
        raise _damaged(shards, "the file is missing")
    data = file.read_bytes()
    known = manifest.index
    if known is not None and len(data) != known.bytes:
        raise _damaged(shards, f"{len(data)} bytes, expected {known.bytes}")
    if known is not None and hashlib.sha256(data).hexdigest() != known.sha256:
        raise _damaged(shards, "its SHA-256 is not the manifest's")
    return data


def of_split(index: pa.Table, split: str) -> pa.Table:
    """The rows of one split of an index that was read."""
    return index.filter(pc.equal(index["split"], split))


def _lacks(schema: pa.Schema) -> str:
    """Which column the index lacks or has of another type, or empty."""
    for column in INDEX_SCHEMA:
        if column.name not in schema.names:
            return f"it has no column {column.name}"
        if (found := schema.field(column.name).type) != column.type:
            return f"its column {column.name} has the type {found}, expected {column.type}"
    return ""


def recordings_of(index: pa.Table, manifest: Manifest) -> dict[str, str]:
    """Utterance id → id of the recording that it is cut from, or is.

    Args:
        index: The index of a shard folder, or rows of it.
        manifest: The folder's manifest.
    """
    ids = index["utterance_id"].to_pylist()
    found = manifest.traits.recordings_of(ids)
    if RECORDING_FIELD.name in index.column_names:
        named = zip(ids, index[RECORDING_FIELD.name].to_pylist(), strict=True)
        found |= {utterance_id: recording for utterance_id, recording in named if recording is not None}
    return found


def _contradiction(table: pa.Table, manifest: Manifest) -> str:
    """What the index says otherwise than the manifest, or empty."""
    for column in INDEX_SCHEMA:
        if table[column.name].null_count:
            return f"its column {column.name} has empty cells"
    if pc.count_distinct(table["utterance_id"]).as_py() != table.num_rows:
        return "an utterance has several rows"
    if table.num_rows and pc.min(table["num_samples"]).as_py() < 0:
        return "a length is negative"
    for name in ("audio_mean", "audio_std"):
        if not pc.all(pc.is_finite(table[name]), min_count=0).as_py():
            return f"its column {name} has a value that is not finite"
    if unknown := set(pc.unique(table["split"]).to_pylist()) - set(manifest.splits):
        return f"it has the split {min(unknown)}, which the manifest lacks"
    return next(
        filter(
            None,
            (_contradiction_in_split(of_split(table, name), name, manifest) for name in manifest.splits),
        ),
        "",
    )


def _contradiction_in_split(rows: pa.Table, name: str, manifest: Manifest) -> str:
    split = manifest.split(name)
    if rows.num_rows != split.utterances:
        return f"it has {rows.num_rows} utterances of {name}, the manifest {split.utterances}"
    shard, group, row = (rows[column].to_numpy() for column in ("shard", "row_group", "row"))
    counts = dict(zip(*(values.tolist() for values in np.unique(shard, return_counts=True)), strict=True))
    for entry in split.shards:
        number = int(entry.path.rpartition("/")[2].partition(".")[0])
        if counts.pop(number, 0) != entry.utterances:
            return f"it has another number of utterances in {entry.path} than the manifest"
    if counts:
        return f"it names the shard {name}/{min(counts):05d}.parquet, which the manifest lacks"
    if not _rows_are_counted(shard, group, row):
        return f"its row numbers of {name} have gaps or repeat"
    hours = pc.sum(rows["num_samples"], min_count=0).as_py() / SAMPLE_RATE_HZ / 3600
    if abs(hours - split.hours) > HOURS_ROUNDED:
        return f"its utterances of {name} last {hours:.6f} hours, by the manifest {split.hours:.6f}"
    return ""


def _rows_are_counted(
    shard: np.ndarray[tuple[int], np.dtype[np.int32]],
    group: np.ndarray[tuple[int], np.dtype[np.int32]],
    row: np.ndarray[tuple[int], np.dtype[np.int32]],
) -> bool:
    """Whether each shard's row groups count from 0, and each row group's rows."""
    order = np.lexsort((row, group, shard))
    shard, group, row = shard[order], group[order], row[order]
    starts_shard = np.diff(shard, prepend=-1) != 0
    starts_group = starts_shard | (np.diff(group, prepend=-1) != 0)
    group_follows = np.where(starts_shard, group == 0, np.diff(group, prepend=0) == starts_group)
    row_follows = np.where(starts_group, row == 0, np.diff(row, prepend=0) == 1)
    return bool(group_follows.all() and row_follows.all())


def _damaged(shards: Location, reason: str) -> DataError:
    return DataError(
        f"{shards}/{INDEX_NAME} is damaged ({reason}); copy the folder again, or remove {shards} and run "
        "`vgim data prepare` again"
    )
