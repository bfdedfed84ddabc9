"""A damaged shard folder is found before anything is read from it, or by `verify`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.damage import DAMAGES, flip
from tests.data.shard_damage import as_before_hashes, change_index
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.check import check_shards_present, verify
from vgim.data.shards.manifest import fingerprint, read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import read_lengths
from vgim.errors import DataError, StorageError, VgimError
from vgim.storage import Location


@pytest.fixture
def shards(tiny_shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_shards, tmp_path / "shards"))


def check(shards: Path) -> None:
    check_shards_present(shards, read_manifest(shards))


def problem(shards: Path) -> str:
    """The line that every command that reads the shards ends with."""
    with pytest.raises(VgimError) as caught:
        check(shards)
    assert isinstance(caught.value, DataError | StorageError)
    assert "\n" not in str(caught.value)
    assert str(shards) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["index.parquet", "manifest.json", "manifest.sha256"])
def test_a_damaged_small_file_is_found_at_the_start(shards: Path, file: str, damage: str) -> None:
    check(shards)
    DAMAGES[damage](shards / file)
    assert file in problem(shards)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_of_an_earlier_version_is_found_too(shards: Path, damage: str) -> None:
    as_before_hashes(shards)
    check(shards)
    DAMAGES[damage](shards / "index.parquet")
    assert "index.parquet" in problem(shards)


def test_the_manifest_holds_size_and_hash_of_every_file(shards: Path) -> None:
    manifest = read_manifest(shards)
    known = {shard.path: shard.sha256 for split in manifest.splits.values() for shard in split.shards}
    assert manifest.index is not None
    known["index.parquet"] = manifest.index.sha256
    marker, name = (shards / "manifest.sha256").read_text().split()
    known[name] = marker
    files = [path for path in shards.rglob("*") if path.is_file() and path.name != "manifest.sha256"]
    assert {str(path.relative_to(shards)): sha256(path.read_bytes()).hexdigest() for path in files} == known


def lose_rows(table: pa.Table) -> pa.Table:
    return table.slice(1)


def double_rows(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(0, 1)])


def double_rows_of_other_ids(table: pa.Table) -> pa.Table:
    first = table.slice(0, 1)
    return pa.concat_tables([table.slice(1), first.set_column(0, "utterance_id", pa.array(["new"])), first])


def lengthen(table: pa.Table) -> pa.Table:
    lengths = table["num_samples"].to_pylist()
    return replace(table, "num_samples", [lengths[0] + 1600, *lengths[1:]])


def number_rows_anew(table: pa.Table) -> pa.Table:
    return replace(table, "row", [0] * table.num_rows)


def leave_out_a_row_group(table: pa.Table) -> pa.Table:
    return replace(table, "row_group", pc.add(table["row_group"], 1).to_pylist())


def move_to_another_shard(table: pa.Table) -> pa.Table:
    return replace(table, "shard", [7] * table.num_rows)


def rename_the_split(table: pa.Table) -> pa.Table:
    return replace(table, "split", ["dev"] * table.num_rows)


def swap_splits(table: pa.Table) -> pa.Table:
    other = {"train": "validation", "validation": "train", "test": "test"}
    return replace(table, "split", [other[split] for split in table["split"].to_pylist()])


def drop_a_column(table: pa.Table) -> pa.Table:
    return table.drop_columns(["row"])


def retype_a_column(table: pa.Table) -> pa.Table:
    return table.set_column(0, "utterance_id", pa.array(range(table.num_rows)))


def empty_a_cell(table: pa.Table) -> pa.Table:
    return replace(table, "num_samples", [None, *table["num_samples"].to_pylist()[1:]])


def lose_a_mean(table: pa.Table) -> pa.Table:
    return replace(table, "audio_mean", [float("nan"), *table["audio_mean"].to_pylist()[1:]])


def replace(table: pa.Table, column: str, values: list[object]) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(at, column, pa.array(values, table.schema.field(column).type))


CHANGES = [
    lose_rows,
    double_rows,
    double_rows_of_other_ids,
    lengthen,
    number_rows_anew,
    leave_out_a_row_group,
    move_to_another_shard,
    rename_the_split,
    swap_splits,
    drop_a_column,
    retype_a_column,
    empty_a_cell,
    lose_a_mean,
]


@pytest.mark.parametrize("hashes", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_an_index_with_other_rows_is_refused_also_without_hashes(
    shards: Path, change: Callable[[pa.Table], pa.Table], hashes: bool
) -> None:
    if not hashes:
        as_before_hashes(shards)
    change_index(shards, lambda table: table)
    if not hashes:
        check(shards)  # written anew with the same rows
    change_index(shards, change)
    assert "index.parquet is damaged (" in problem(shards)
    assert verify(shards) == [
        text for text in verify(shards) if text.startswith("index.parquet is damaged (")
    ]
    with pytest.raises(DataError, match=r"index\.parquet is damaged"):
        read_lengths(Location(shards), "train")


def test_an_index_of_another_folder_is_refused(
    shards: Path, make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    prepare(find_librispeech(make_corpus()), tmp_path / "other", workers=0)
    as_before_hashes(shards)
    shutil.copy(tmp_path / "other" / "index.parquet", shards / "index.parquet")
    assert "index.parquet is damaged (it has 24 utterances of train, the manifest 40)" in problem(shards)


def test_a_digit_changed_in_a_manifest_is_found(shards: Path) -> None:
    path = shards / "manifest.json"
    assert '"left_out": 0' in path.read_text()
    path.write_text(path.read_text().replace('"left_out": 0', '"left_out": 1'))
    assert "its SHA-256 is not the one in manifest.sha256" in problem(shards)


def test_shards_of_another_fingerprint_are_found_without_hashes(shards: Path) -> None:
    as_before_hashes(shards)
    content = json.loads((shards / "manifest.json").read_text())
    content["splits"]["train"]["shards"][0]["sha256"] = "0" * 64
    (shards / "manifest.json").write_text(json.dumps(content))
    assert "its fingerprint is not that of its shards" in problem(shards)


def test_damage_does_not_change_the_fingerprint_and_hashes_are_no_part_of_it(shards: Path) -> None:
    manifest = read_manifest(shards)
    as_before_hashes(shards)
    assert read_manifest(shards).fingerprint == manifest.fingerprint
    assert manifest.fingerprint == fingerprint(s for split in manifest.splits.values() for s in split.shards)


def test_a_missing_shard_is_named_without_reading_the_others(shards: Path) -> None:
    check(shards)
    (shards / "train" / "00000.parquet").unlink()
    assert "not whole: train/00000.parquet is missing; copy the folder again" in problem(shards)
    assert verify(shards) == ["train/00000.parquet is missing"]


def test_verify_names_every_damaged_file(shards: Path) -> None:
    assert verify(shards) == []
    flip(shards / "test" / "00000.parquet")
    flip(shards / "index.parquet")
    path = shards / "train" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert [text.partition(" ")[0] for text in verify(shards)] == [
        "train/00000.parquet",
        "index.parquet",
        "test/00000.parquet",
    ]


def test_an_index_that_is_not_utf8_is_refused(shards: Path) -> None:
    as_before_hashes(shards)
    path = shards / "index.parquet"
    table = pq.read_table(path)
    pq.write_table(table, path, compression="none", use_dictionary=False)
    name = table["utterance_id"][0].as_py().encode()
    path.write_bytes(path.read_bytes().replace(name, b"\xff" * len(name)))
    assert "index.parquet is damaged (" in problem(shards)
