"""A shard folder is complete and undamaged, or the error says in one line what is wrong with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.data.shard_damage import as_before_hashes
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.manifest import (
    Manifest,
    ShardEntry,
    fingerprint,
    is_complete,
    read_manifest,
    write_manifest,
)
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError
from vgim.storage import Location


@pytest.fixture
def shards(make_corpus, tmp_path: Path) -> Path:
    prepare(find_librispeech(make_corpus(utterances=4)), tmp_path / "shards")
    return tmp_path / "shards"


def rewrite(shards: Path, **changes: object) -> None:
    write(shards, json.dumps({**json.loads((shards / "manifest.json").read_text()), **changes}))


def write(shards: Path, manifest: str) -> None:
    """Write a manifest of any content, with its hash beside it."""
    (shards / "manifest.json").write_text(manifest)
    digest = hashlib.sha256(manifest.encode()).hexdigest()
    (shards / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


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
    rewrite(shards, surprise=True, corpus_std=float("nan"))
    assert "damaged (corpus_std: Input should be a finite number" in one_line(shards)
    write(shards, '{"schema_version": 1,')
    assert "not valid JSON (line 1" in one_line(shards)
    write(shards, "[]")
    assert "schema_version None" in one_line(shards)
    write(shards, f'{{"schema_version": {"1" * 5000}}}')
    assert "is damaged (Exceeds the limit" in one_line(shards)
    write(shards, "[" * 100_000)
    assert "is damaged (" in one_line(shards)
    (shards / "manifest.sha256").unlink()
    (shards / "manifest.json").write_bytes(b'{"corpus": "\xff"}')
    assert "is not UTF-8" in one_line(shards)


def test_a_lost_hash_of_the_manifest_is_not_an_earlier_version(shards: Path, make_corpus) -> None:
    (shards / "manifest.sha256").unlink()
    assert not is_complete(Location(shards))
    assert "no manifest.sha256 in" in one_line(shards)
    assert "was deleted or not copied" in one_line(shards)
    with pytest.raises(DataError, match=r"no manifest\.sha256 in .*copy the folder again, or remove"):
        prepare(find_librispeech(shards.parent / "corpus"), shards)
    (shards / ".prepare").mkdir()
    assert "interrupted; run the same `vgim data prepare` again" in one_line(shards)


@pytest.mark.parametrize("text", ["{}  manifest.json\r\n", "{} *manifest.json\n", "{}  manifest.json"])
def test_a_marker_with_other_ends_of_lines_counts(shards: Path, text: str) -> None:
    digest = hashlib.sha256((shards / "manifest.json").read_bytes()).hexdigest()
    (shards / "manifest.sha256").write_bytes(text.format(digest).encode())
    assert read_manifest(shards).num_utterances


@pytest.mark.parametrize("text", ["", "abc", "\r\n"])
def test_a_damaged_marker_is_told_from_a_damaged_manifest(shards: Path, text: str) -> None:
    (shards / "manifest.sha256").write_text(text)
    assert f"{shards}/manifest.sha256 is damaged" in one_line(shards)


def test_a_manifest_of_an_earlier_version_reads_without_hashes(shards: Path) -> None:
    before = read_manifest(shards)
    as_before_hashes(shards)
    assert is_complete(Location(shards))
    assert read_manifest(shards) == before.model_copy(update={"index": None})
    assert "index" not in read_manifest(shards).model_dump()
    write_manifest(Location(shards), before)
    assert read_manifest(shards) == before


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
