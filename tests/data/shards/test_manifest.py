"""A shard folder is complete and undamaged, or the error says in one line what is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.manifest import (
    Manifest,
    ShardEntry,
    check_shards_present,
    fingerprint,
    is_complete,
    read_manifest,
    verify,
)
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError
from vgim.storage import Location


@pytest.fixture
def shards(make_corpus, tmp_path: Path) -> Path:
    prepare(find_librispeech(make_corpus(utterances=4)), tmp_path / "shards")
    return tmp_path / "shards"


def rewrite(shards: Path, **changes: object) -> None:
    content = json.loads((shards / "manifest.json").read_text())
    (shards / "manifest.json").write_text(json.dumps({**content, **changes}))


def one_line(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_manifest(str(folder))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_folder_without_manifest_is_explained(tmp_path: Path) -> None:
    assert "no shard folder" in one_line(tmp_path / "absent")
    assert "not a shard folder" in one_line(tmp_path)
    (tmp_path / ".prepare").mkdir()
    assert "interrupted; run the same `vgim data prepare` again" in one_line(tmp_path)
    assert not is_complete(Location(tmp_path))


def test_a_damaged_manifest_is_explained(shards: Path) -> None:
    rewrite(shards, schema_version=99)
    assert "schema_version 99 but this vgim reads 1" in one_line(shards)
    rewrite(shards, schema_version=1, surprise=True)
    assert "damaged (surprise: Extra inputs are not permitted)" in one_line(shards)
    (shards / "manifest.json").write_text('{"schema_version": 1,')
    assert "not valid JSON (line 1" in one_line(shards)
    (shards / "manifest.json").write_text("[]")
    assert "schema_version None" in one_line(shards)


def test_a_manifest_is_frozen_and_survives_json(shards: Path) -> None:
    manifest = read_manifest(str(shards))
    assert Manifest.model_validate_json(manifest.model_dump_json()) == manifest
    with pytest.raises(ValidationError):
        manifest.codec = "flac"  # type: ignore[misc]
    with pytest.raises(DataError, match="no split 'dev'; the manifest has train, validation, test"):
        manifest.split("dev")


def test_the_fingerprint_depends_on_the_contents_alone() -> None:
    a = ShardEntry(path="train/00000.parquet", utterances=1, bytes=1, sha256="a")
    b = ShardEntry(path="train/00001.parquet", utterances=1, bytes=1, sha256="b")
    moved = a.model_copy(update={"path": "elsewhere"})
    assert fingerprint([a, b]) == fingerprint([b, moved])
    assert fingerprint([a, b]) != fingerprint([a])


def test_a_missing_shard_is_named_without_reading_the_others(shards: Path) -> None:
    manifest = read_manifest(str(shards))
    check_shards_present(str(shards), manifest)
    (shards / "train" / "00000.parquet").unlink()
    with pytest.raises(DataError, match=r"not whole: train/00000\.parquet is missing; copy the folder again"):
        check_shards_present(str(shards), manifest)
    assert verify(str(shards)) == ["train/00000.parquet is missing"]


def test_damage_is_found_by_hash(shards: Path) -> None:
    assert verify(str(shards)) == []
    path = shards / "test" / "00000.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert verify(str(shards)) == ["test/00000.parquet is damaged (its SHA-256 is not the manifest's)"]
    path.write_bytes(data[:-1])
    assert "expected" in verify(str(shards))[0]
