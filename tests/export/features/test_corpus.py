"""Which recordings features are written of: those of a shard folder, of a folder of sounds, or of a list."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

import vgim
from tests.data.hostile import add_hostile_files
from tests.export.features.feature_cases import features_of, stop_before_the_end
from vgim.errors import ConfigError, DataError, StorageError
from vgim.export.features.corpus import FeatureCorpus, find_corpus
from vgim.export.features.job import write_features
from vgim.export.features.options import FeatureOptions
from vgim.export.features.part import file_name
from vgim.progress import MessagesOnly


def test_sound_files_are_read_from_a_folder_or_a_list(
    sounds: Path, runs: dict[str, str], tmp_path: Path
) -> None:
    said: list[str] = []
    options = FeatureOptions()
    record = features_of(sounds, runs["sim"], tmp_path / "out", said, options=options)
    index = pd.read_parquet(tmp_path / "out" / "index.parquet").set_index("utterance_id")
    assert sorted(index.index) == ["61/70968/61-70968-0000", "a/x", "b/x", "stereo"]
    assert index.speaker_id["61/70968/61-70968-0000"] == "61"
    assert {row.utterance_id for row in record.skipped} == {"short", "broken"}
    assert any("1 file: averaged 2 channels, resampled 8000 Hz to 16000 Hz" in line for line in said)
    assert any(line.startswith("skipped broken: ") for line in said)
    from_file = vgim.load_encoder(runs["sim"]).encode_file(sounds / "a" / "x.wav")[-1].latents[0].numpy()
    np.testing.assert_allclose(np.load(tmp_path / "out" / index.file["a/x"]), from_file, rtol=1e-4, atol=1e-5)
    (sounds / "list.txt").write_text(f"a/x.wav\n\n{sounds}/b/x.flac\n")
    listed = write_features(
        runs["sim"], str(sounds / "list.txt"), str(tmp_path / "listed"), options, device="cpu"
    )
    assert listed.num_utterances == 2
    for name in ("a/x.npy", "b/x.npy"):
        assert (tmp_path / "listed/module-3" / name).read_bytes() == (
            tmp_path / "out/module-3" / name
        ).read_bytes()
    (sounds / "a" / "x.flac").write_bytes((sounds / "b" / "x.flac").read_bytes())
    (sounds / "list.txt").write_text("a/x.flac\na/x.wav\n")
    with pytest.raises(DataError, match="1 file with the id of another"):
        write_features(runs["sim"], str(sounds / "list.txt"), str(tmp_path / "twice"), options, device="cpu")


def test_what_a_folder_holds_besides_sound_is_skipped_and_listed(
    sounds: Path, runs: dict[str, str], tmp_path: Path
) -> None:
    reasons = add_hostile_files(sounds, ".wav")
    (sounds / "a" / "x.flac").write_bytes((sounds / "b" / "x.flac").read_bytes())
    reasons["a/x.wav"] = "it has the same id as a/x.flac, a/x"
    said: list[str] = []
    record = write_features(
        runs["sim"],
        str(sounds),
        str(tmp_path / "out"),
        FeatureOptions(),
        device="cpu",
        progress=MessagesOnly(said.append),
    )
    assert record.num_utterances == 4
    skipped = {row.utterance_id: row.reason for row in record.skipped}
    assert skipped.keys() == {*reasons, "short", "broken"}
    assert {name: skipped[name] for name in reasons} == reasons
    assert any(line.startswith("skipped ") and " more; " in line for line in said)


def test_a_file_that_goes_after_the_listing_is_skipped(
    sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_and_lose(*args: str) -> FeatureCorpus:
        found = find_corpus(args[0], ())
        (sounds / "stereo.wav").unlink()
        return found

    monkeypatch.setattr("vgim.export.features.job.find_corpus", find_and_lose)
    record = write_features(runs["sim"], str(sounds), str(tmp_path / "out"), FeatureOptions(), device="cpu")
    (lost,) = [row for row in record.skipped if row.utterance_id == "stereo"]
    assert "there is no such file" in lost.reason
    assert record.num_utterances == 3


@pytest.mark.parametrize(
    ("corpus", "error", "message"),
    [
        ("nothing", StorageError, "there is no corpus"),
        ("sounds/notes.txt", DataError, r"notes\.txt line 1 ends in none of"),
        ("sounds/61/70968/none", StorageError, "there is no corpus"),
        ("empty", DataError, "holds neither shards nor sound files"),
        ("sounds/short.wav", DataError, "has no utterance that can be encoded"),
    ],
)
def test_what_is_no_corpus_is_told(
    corpus: str,
    error: type[Exception],
    message: str,
    sounds: Path,
    runs: dict[str, str],
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message) as raised:
        write_features(
            runs["sim"], str(tmp_path / corpus), str(tmp_path / "out"), FeatureOptions(), device="cpu"
        )
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("listed", [False, True])
def test_a_sound_file_that_was_replaced_makes_another_corpus(
    listed: bool, sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = sounds
    if listed:
        corpus = tmp_path / "list.txt"
        corpus.write_text("sounds/a/x.wav\nsounds/b/x.flac\nsounds/stereo.wav\n")
    stop_before_the_end(corpus, runs["sim"], tmp_path / "out", monkeypatch, num_parts=1)
    file = sounds / "a" / "x.wav"
    louder, rate = soundfile.read(file, dtype="int16")
    time_ns, size = file.stat().st_mtime_ns, file.stat().st_size
    soundfile.write(file, louder * 2, rate, subtype="PCM_16")
    assert file.stat().st_size == size
    os.utime(file, ns=(time_ns + 10**9, time_ns + 10**9))
    with pytest.raises(ConfigError, match="a sound file that was changed makes another corpus"):
        features_of(corpus, runs["sim"], tmp_path / "out", [])


def test_a_list_is_checked_first_and_can_be_mended(
    sounds: Path, runs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out = tmp_path / "list.txt", tmp_path / "out"
    for wrong, what in (("sounds/none.wav", "no file"), ("sounds/folder.wav", "a folder")):
        (sounds / "folder.wav").mkdir(exist_ok=True)
        listed.write_text(f"sounds/a/x.wav\n{wrong}\n")
        with pytest.raises(StorageError, match=rf"line 2 of .*list\.txt names .*{wrong}, which is {what}"):
            features_of(listed, runs["sim"], out, [])
        assert not out.exists()
    listed.write_text("sounds/a/x.wav\nsounds/short.wav\n")
    stop_before_the_end(listed, runs["sim"], out, monkeypatch, num_parts=0)
    listed.write_text("sounds/a/x.wav\n")  # nothing of the longer list is there, so that nothing is lost
    assert features_of(listed, runs["sim"], out, []).num_utterances == 1


def test_ids_lead_to_no_place_outside() -> None:
    assert file_name("a/b-1") == "a/b-1"
    assert file_name("../../etc/x") == "%2E%2E/%2E%2E/etc/x"
    assert file_name("a b:c\n") == "a b%3Ac%0A"
    assert file_name("/a").startswith("id-")
    assert file_name("x" * 300).startswith("id-")
