"""Write one shard of rows of other shards. Audio stays in the bytes that it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vgim.data.pcm import PCM16_SCALE
from vgim.data.shards.alignment import phone_path
from vgim.data.shards.columns import SHARD_SCHEMA
from vgim.data.shards.manifest import Codec, ShardEntry
from vgim.data.shards.phone_file import PhoneRow, phone_bytes
from vgim.data.shards.read import column_values, open_anew, other_content, read_opened_row_group
from vgim.data.shards.record import IndexRow, ShardResult, write_record
from vgim.data.shards.write import ROW_GROUP_BYTES, ROW_GROUP_ROWS, HashingSink, shard_writer
from vgim.storage import Location

_PHONE_COLUMNS = ("utterance_id", "phones", "problem")


class RowPlace(NamedTuple):
    """Where an utterance lies in a shard folder, and what is known of it."""

    shard: str
    """Path of the shard below the folder."""
    row_group: int
    row: int
    utterance_id: str
    num_samples: int
    recording_id: str | None = None


@dataclass(frozen=True)
class RowPlan:
    """A shard, and the rows that it is to hold in order."""

    split: str
    number: int
    rows: tuple[RowPlace, ...]
    digest: str
    """Hash of all that shapes the shard. A finished shard with this digest is not written again."""

    @property
    def path(self) -> str:
        """Path of the shard, relative to the shard folder."""
        return f"{self.split}/{self.number:05d}.parquet"


@dataclass(frozen=True)
class RowSource:
    """The folder whose rows are written."""

    folder: Location
    codec: Codec
    label_facts: dict[str, str] | None
    """What the labels beside its shards were made from; None if it has none."""


def write_rows(plan: RowPlan, source: RowSource, out: Location) -> ShardResult:
    """Write the plan's shard, the labels beside it, and then its record.

    One row group of each split of the source is in memory at a time, and one of the new shard.

    Args:
        plan: The shard.
        source: The folder whose rows it holds.
        out: The new folder.

    Raises:
        DataError: A shard of the source is damaged.
        StorageError: The storage cannot be read or written.
    """
    rows, labels = _Reader(source.folder, SHARD_SCHEMA.names), list[list[PhoneRow]]()
    label_rows = _Reader(source.folder, _PHONE_COLUMNS)
    index_rows: list[IndexRow] = []
    sample_sum = square_sum = 0
    with out.child(plan.path).atomic_output() as file:
        sink = HashingSink(file)
        with shard_writer(sink) as writer:
            for row_group, (places, table) in enumerate(_row_groups(plan, rows)):
                split = pa.array([plan.split] * len(places), pa.string())
                table = table.set_column(table.schema.get_field_index("split"), "split", split)
                writer.write_table(table, row_group_size=len(places))
                columns = {
                    name: column_values(table, name, plan.path)
                    for name in SHARD_SCHEMA.names
                    if name != "phones"
                }
                for number in range(len(places)):
                    cells = {name: values[number] for name, values in columns.items()}
                    sums = _sums(cells, source, places[number])
                    sample_sum, square_sum = sample_sum + sums[0], square_sum + sums[1]
                    index_rows.append(_index_row(cells, places[number], row_group, number))
                if source.label_facts is not None:
                    labels.append([_phone_row(label_rows, place) for place in places])
    entry = ShardEntry(
        path=plan.path, utterances=len(index_rows), bytes=sink.size, sha256=sink.digest.hexdigest()
    )
    if source.label_facts is not None:
        content = phone_bytes(labels, {**source.label_facts, "shard": entry.sha256})
        out.child(phone_path(plan.path)).write_bytes_atomic(content)
    result = ShardResult(
        digest=plan.digest,
        split=plan.split,
        number=plan.number,
        entry=entry,
        rows=tuple(index_rows),
        skipped=(),
        sample_sum=sample_sum,
        sample_square_sum=square_sum,
    )
    write_record(plan, out, result)
    return result


class _Reader:
    """Reads single rows of a folder's files, which come in ascending order within each split."""

    def __init__(self, folder: Location, columns: tuple[str, ...] | list[str]) -> None:
        self._folder, self._columns = folder, tuple(columns)
        self._files: dict[str, tuple[str, pq.ParquetFile]] = {}
        self._groups: dict[str, tuple[tuple[str, int], pa.Table]] = {}

    def row(self, path: str, row_group: int, row: int) -> pa.Table:
        """One row of a file as a table.

        Raises:
            DataError: The file is missing or damaged.
        """
        split, uri = path.partition("/")[0], self._folder.child(path).uri
        if self._files.get(split, ("",))[0] != path:
            self._files[split] = (path, open_anew(uri))
        if self._groups.get(split, (None,))[0] != (path, row_group):
            table = read_opened_row_group(self._files[split][1], uri, row_group, self._columns)
            self._groups[split] = ((path, row_group), table.select(list(self._columns)))
        group = self._groups[split][1]
        if row >= group.num_rows:
            raise other_content(uri)
        return group.take([row])  # a copy: a slice would keep the whole row group in memory


def _row_groups(plan: RowPlan, reader: _Reader) -> Iterator[tuple[list[RowPlace], pa.Table]]:
    places: list[RowPlace] = []
    tables: list[pa.Table] = []
    num_bytes = 0
    for place in plan.rows:
        table = reader.row(place.shard, place.row_group, place.row)
        audio = len(table["audio"][0].as_buffer() or b"")
        if places and (len(places) == ROW_GROUP_ROWS or num_bytes + audio > ROW_GROUP_BYTES):
            yield places, _joined(tables)
            places, tables, num_bytes = [], [], 0
        places.append(place)
        tables.append(table)
        num_bytes += audio
    if places:
        yield places, _joined(tables)


def _joined(tables: list[pa.Table]) -> pa.Table:
    plain = [table.replace_schema_metadata(None).cast(SHARD_SCHEMA) for table in tables]
    return pa.concat_tables(plain).combine_chunks()


def _sums(cells: dict[str, object], source: RowSource, place: RowPlace) -> tuple[int, int]:
    """Sum of an utterance's samples and of their squares: exact for PCM16, else from mean and deviation.

    Raises:
        DataError: The row is not the one that the index names.
    """
    audio, num_samples = cells["audio"], place.num_samples
    is_same = (cells["utterance_id"], cells["num_samples"]) == (place.utterance_id, num_samples)
    if not is_same or not isinstance(audio, bytes):
        raise other_content(source.folder.child(place.shard).uri)
    if source.codec == "pcm16":
        if len(audio) != 2 * num_samples:
            raise other_content(source.folder.child(place.shard).uri)
        wide = np.frombuffer(audio, "<i2").astype(np.int64)
        return int(wide.sum()), int(wide @ wide)
    mean, std = (float(cells[name]) * PCM16_SCALE for name in ("audio_mean", "audio_std"))  # type: ignore[arg-type]
    return round(mean * num_samples), round((std * std + mean * mean) * num_samples)


def _index_row(cells: dict[str, object], place: RowPlace, row_group: int, number: int) -> IndexRow:
    names = ("utterance_id", "speaker_id", "chapter_id", "num_samples", "audio_mean", "audio_std")
    return IndexRow.model_validate(
        {
            "row_group": row_group,
            "row": number,
            "recording_id": place.recording_id,
            **{name: cells[name] for name in names},
        }
    )


def _phone_row(reader: _Reader, place: RowPlace) -> PhoneRow:
    path = phone_path(place.shard)
    [row] = reader.row(path, place.row_group, place.row).to_pylist()
    if row["utterance_id"] != place.utterance_id:
        raise other_content(path)
    phones = None if row["phones"] is None else np.array(row["phones"], np.int16)
    return PhoneRow(place.utterance_id, phones, row["problem"] or "")
