"""Segments of recordings, which a list names by file, start and duration or end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.data.corpora.lists import jsonl, rows
from vgim.data.corpora.corpus import SourceUtterance
from vgim.data.corpora.folder import find_folder, recordings_of
from vgim.data.corpora.manifest_file import ManifestRow, read_manifest_rows
from vgim.data.shards.prepare import prepare
from vgim.data.shards.write import ReadOptions, _read
from vgim.errors import DataError
from vgim.storage import Location


def test_segments_are_cut_and_those_of_a_recording_stay_in_one_split(corpus: Path, tmp_path: Path) -> None:
    values = [
        {"audio_filepath": path, "offset": offset, "duration": 0.5}
        for path in ("ann/one.wav", "ann/deep/two.flac", "bob/three.ogg", "bob/four.mp3")
        for offset in (0, 0.5, 1.25)
    ]
    values.append({"audio_filepath": "ann/one.wav", "offset": 9.0, "duration": 0.5})
    values.append({"audio_filepath": "ann/one.wav", "offset": 0.75, "duration": 0})
    file = tmp_path / "segments.json"
    file.write_text(jsonl(values))
    found = find_folder(corpus, manifest=str(file), speaker_from="none")
    manifest = prepare(found, tmp_path / "shards", min_samples=0, validation_fraction=0.3, test_fraction=0.3)
    assert {item.reason for item in manifest.skipped} == {
        "nothing is there from 9 s on; the file has 2.00 s",
        "the segment from 0.75 s to 0.75 s has no sample",
    }
    cut = rows(tmp_path / "shards")
    whole = soundfile.read(corpus / "ann/one.wav", dtype="int16")[0]
    for name, start in (("ann-one@0", 0), ("ann-one@500", 8_000), ("ann-one@1250", 20_000)):
        samples = np.frombuffer(cut[name]["audio"], "<i2")
        np.testing.assert_array_equal(samples, whole[start : start + 8_000])
    splits: dict[str, set[str]] = {}
    for name, row in cut.items():
        splits.setdefault(name.partition("@")[0], set()).add(row["split"])
    assert all(len(of_recording) == 1 for of_recording in splits.values())
    assert {split for of_recording in splits.values() for split in of_recording} == {
        "train",
        "validation",
        "test",
    }
    assert recordings_of(["a-b@500", "a@b"]) == {"a-b@500": "a-b", "a@b": "a@b"}


def test_a_segment_has_a_duration_or_an_end(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("path,start,duration,end\na.wav,2,,3.5\na.wav,2,1,9\na.wav,2,,\na.wav,,,3\n")
    found = [row.segment_s for row in read_manifest_rows(Location(file)) if isinstance(row, ManifestRow)]
    assert found == [(2.0, 3.5), (2.0, 3.0), (2.0, None), None]


def test_segments_of_files_without_a_byte_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "none.wav").write_bytes(b"")
    file = tmp_path / "segments.json"
    file.write_text(jsonl([{"audio_filepath": "none.wav", "offset": 0.5, "duration": 0.5}]))
    with pytest.raises(DataError, match=r"none of the 1 audio files in .* could be used: 1 empty"):
        prepare(find_folder(tmp_path, manifest=str(file)), tmp_path / "shards", workers=0)


def test_a_whole_file_is_in_the_split_of_its_segments(corpus: Path, tmp_path: Path) -> None:
    paths = ("ann/one.wav", "ann/deep/two.flac", "bob/three.ogg", "bob/four.mp3", "six seven.wav")
    segment = {"offset": 0.5, "duration": 0.5}
    lines = ({"id": f"whole {path}"} | {"audio_filepath": path} for path in paths)
    segments = ({"id": f"part {path}", "audio_filepath": path, **segment} for path in paths)
    file = tmp_path / "both.json"
    file.write_text(jsonl([*lines, *segments]))
    found = find_folder(corpus, manifest=str(file), speaker_from="none")
    prepare(found, tmp_path / "shards", min_samples=0, validation_fraction=0.3, test_fraction=0.3)
    split_of = {name: row["split"] for name, row in rows(tmp_path / "shards").items()}
    assert set(split_of.values()) == {"train", "validation", "test"}
    for name in split_of:
        assert split_of[name] == split_of[name.replace("part_", "whole_")], name


def test_of_a_local_file_the_segment_alone_is_read(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "segments.json"
    file.write_text(jsonl([{"audio_filepath": "ann/one.wav", "offset": 0.5, "duration": 0.5}]))
    found = find_folder(corpus, manifest=str(file))
    monkeypatch.setattr(Location, "read_bytes", None)
    options = ReadOptions("pcm16", min_samples=0, resample=False, mixdown=False, strict=True)
    clip, data = _read(found.root.child("ann/one.wav"), found.utterances[0], options)
    whole = soundfile.read(corpus / "ann/one.wav", dtype="int16")[0]
    np.testing.assert_array_equal(clip.samples, whole[8_000:16_000])
    assert not data


def test_shards_of_segments_have_their_target_size(corpus: Path, tmp_path: Path) -> None:
    values = [
        {"audio_filepath": "ann/one.wav", "offset": number / 50, "duration": 0.1} for number in range(90)
    ]
    file = tmp_path / "segments.json"
    file.write_text(jsonl(values))
    found = find_folder(corpus, manifest=str(file))
    num_bytes = 90 * 3_200
    assert found.estimated_pcm_bytes == pytest.approx(num_bytes, abs=1)
    target = num_bytes // 3
    manifest = prepare(
        found,
        tmp_path / "shards",
        min_samples=0,
        validation_fraction=0,
        test_fraction=0,
        target_shard_bytes=target,
        workers=0,
    )
    assert [shard.utterances for shard in manifest.split("train").shards] == [30, 30, 30]


def test_shards_of_segments_that_an_earlier_vgim_cut_are_told_as_such(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = [
        {"audio_filepath": "ann/one.wav", "offset": number / 50, "duration": 0.1} for number in range(90)
    ]
    file = tmp_path / "manifest.jsonl"
    file.write_text(jsonl(segments))
    listed, out = find_folder(corpus, manifest=str(file)), tmp_path / "out"
    options: dict[str, Any] = {"min_samples": 0, "target_shard_bytes": 100_000, "workers": 0}
    monkeypatch.setattr(SourceUtterance, "estimated_bytes", lambda self, ratio: self.size_bytes)
    prepare(listed, out, **options)
    monkeypatch.undo()
    with pytest.raises(DataError, match="or by an earlier vgim, which put segments of recordings into other"):
        prepare(listed, out, **options)
