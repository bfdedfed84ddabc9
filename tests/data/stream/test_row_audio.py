"""A row group is read whole once; then only the bytes that are asked for, until its file changes."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faulty_storage import Faults, faulty_storage
from vgim.config.schema import DataConfig
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream import row_audio
from vgim.data.stream.cut import cut_crops
from vgim.data.stream.order import SplitIndex, epoch_order, read_tasks
from vgim.data.stream.row_audio import AudioInFile, AudioInMemory, open_audio
from vgim.errors import DataError
from vgim.storage import Location

SHARD = "train/00000.parquet"


@pytest.fixture
def shards(tiny_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_shards, tmp_path / "shards"))


def audio_of(path: Path, row_group: int) -> list[bytes]:
    """The audio of each row, as pyarrow reads it."""
    column = pq.ParquetFile(path).read_row_group(row_group, columns=["audio"])["audio"]
    return list(column.to_pylist())


def read_all(path: Path, row_group: int) -> tuple[type, list[bytes]]:
    """Where a row group's audio was read from, and the audio of each row."""
    found = []
    with open_audio(str(path), row_group) as audio:
        for begin, size in zip(audio.places.begins, audio.places.num_bytes, strict=True):
            out = np.empty(size, np.uint8)
            audio.read_into(out, int(begin))
            found.append(out.tobytes())
    return type(audio), found


def test_the_second_reading_is_from_the_file_and_gives_the_same_bytes(shards: Path) -> None:
    for row_group in range(3):
        expected = audio_of(shards / SHARD, row_group)
        assert read_all(shards / SHARD, row_group) == (AudioInMemory, expected)
        assert read_all(shards / SHARD, row_group) == (AudioInFile, expected)


def test_a_file_that_changed_is_read_whole_again(shards: Path) -> None:
    path = shards / SHARD
    assert [read_all(path, 0)[0] for _ in range(2)] == [AudioInMemory, AudioInFile]
    os.utime(path, ns=(0, 1))
    assert [read_all(path, 0)[0] for _ in range(2)] == [AudioInMemory, AudioInFile]


@pytest.mark.parametrize(
    "layout",
    [
        {"compression": "zstd", "use_dictionary": False},
        {"compression": "none", "use_dictionary": ["audio"]},
        {"compression": "none", "use_dictionary": False, "data_page_size": 1, "write_batch_size": 2},
    ],
    ids=["compressed", "dictionary", "several pages"],
)
def test_audio_that_is_stored_otherwise_is_read_whole_each_time(
    shards: Path, layout: dict[str, object]
) -> None:
    path = shards / SHARD
    pq.write_table(pq.read_table(path), path, row_group_size=5, **layout)
    for _ in range(2):
        assert read_all(path, 1) == (AudioInMemory, audio_of(path, 1))


def test_a_footer_that_names_places_outside_the_file_is_an_error(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Column:
        path_in_schema, total_compressed_size, data_page_offset = "audio", 1, 2**63 - 1

    class Group:
        num_columns = 1

        def column(self, _: int) -> Column:
            return Column()

    read = row_audio._read_whole(str(shards / SHARD), 0)
    monkeypatch.setattr(row_audio, "_read_whole", lambda path, row_group: read)
    footer = SimpleNamespace(row_group=lambda number: Group())
    monkeypatch.setattr(row_audio, "footer_of_file", lambda path: footer)
    with pytest.raises(DataError, match=r"^row group 0 of shard .*00000\.parquet cannot be read"):
        open_audio(str(shards / SHARD), 0)


def test_rows_without_audio_or_id_are_an_error(shards: Path) -> None:
    path = shards / SHARD
    whole = pq.read_table(path)
    for column in ("audio", "utterance_id"):
        at = whole.column_names.index(column)
        empty = pa.nulls(whole.num_rows, whole.schema.field(column).type)
        pq.write_table(whole.set_column(at, column, empty), path)
        with pytest.raises(DataError, match="holds other utterances than"):
            open_audio(str(path), 0)


def test_the_row_group_that_was_read_longest_ago_is_forgotten_first(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_audio, "_found", lru_cache(maxsize=2)(row_audio._found.__wrapped__))
    sources = [read_all(shards / SHARD, row_group)[0] for row_group in (0, 1, 0, 2, 0, 1)]
    assert sources == [AudioInMemory, AudioInMemory, AudioInFile, AudioInMemory, AudioInFile, AudioInMemory]


def test_a_remote_shard_is_read_in_threads_and_gives_the_same_crops(
    tiny_shards: Path, tmp_path: Path
) -> None:
    config = DataConfig(shards="none", crop_samples=5_120, shuffle_window=48)
    index = SplitIndex.read(Location(tiny_shards), read_manifest(tiny_shards), "train", config)
    order = epoch_order(index, config, seed=0, epoch=0)
    (task,) = read_tasks(index, order, 0, order.num_crops)
    assert len(task.shards) == 7
    here = cut_crops(str(tiny_shards), "train", "pcm16", 5_120, task)
    shutil.copytree(tiny_shards, tmp_path / "store" / "shards")
    with faulty_storage(tmp_path, Faults(error_rate=0.05, short_reads=0.05)):
        there = cut_crops("faulty://store/shards", "train", "pcm16", 5_120, task)
    np.testing.assert_array_equal(here, there)
