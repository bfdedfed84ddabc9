"""Corpora are found in their published layouts. A folder without one is refused with the expected layout."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vgim.data.corpora.artificial_speech import find_artificial_speech
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import read_lengths
from vgim.errors import DataError
from vgim.storage import Location


def test_librispeech_is_found_from_its_root_a_subset_or_the_folder_above(make_corpus, tmp_path: Path) -> None:
    root = make_corpus("LibriSpeech", labels=True)
    for path in (root, root / "some-clean", tmp_path):
        corpus = find_librispeech(path)
        assert len(corpus.utterances) == 30
        first = corpus.utterances[0]
        assert (first.utterance_id, first.speaker_id, first.chapter_id) == ("1-7-0000", "1", "7")
        assert first.transcript == "WORDS OF 1 AND 0"
        assert corpus.labels is not None
        assert corpus.labels.local_path == root / "phones.txt"
    assert len(find_librispeech(root, subsets=["some-clean"]).utterances) == 30
    with pytest.raises(DataError, match="has no subset other; it has some-clean"):
        find_librispeech(root, subsets=["other"])


def test_files_with_other_names_are_listed_and_missing_transcripts_counted(make_corpus) -> None:
    root = make_corpus(speakers=1, utterances=3)
    chapter = root / "some-clean" / "1" / "7"
    (chapter / "take two.wav").write_bytes(b"")
    (chapter / "9-9-0000.flac").write_bytes(b"")
    (chapter / "1-7.trans.txt").write_text("1-7-0000 ONE\n1-7-0002 \n")
    corpus = find_librispeech(root)
    assert [item.kind for item in corpus.skipped] == ["unexpected name"] * 2
    assert corpus.warnings == ("no transcript for 2 utterances: 1-7-0001, 1-7-0002",)


def test_a_folder_without_the_corpus_is_refused_with_the_expected_layout(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no utterance in .*: expected SUBSET/SPEAKER/CHAPTER/.* found no files"
    ):
        find_librispeech(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        find_librispeech(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no words in .*: expected reshuffledv2"):
        find_artificial_speech(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        find_artificial_speech(tmp_path / "absent", part="syllables")


@pytest.fixture
def artificial(tmp_path: Path) -> Path:
    root = tmp_path / "corpus"
    tone = np.round(9000 * np.sin(np.arange(44_100) / 20)).astype(np.int16)
    for split, words in (("train", ["bagidu", "gidaba", "dubagi", "bubidi"]), ("test", ["didugi"])):
        for folder in ("reshuffledv2", "split up data padded"):
            (root / folder / split).mkdir(parents=True)
        for word in words:
            for take in range(1, 4):
                soundfile.write(root / "reshuffledv2" / split / f"{word}_{take}.wav", tone[:38_000], 44_100)
                for path in range(1, 4):
                    syllable = word[2 * path - 2 : 2 * path]
                    name = f"{word}_{take}_{path}_{syllable}.wav"
                    soundfile.write(root / "split up data padded" / split / name, tone[:12_128], 22_050)
    return root


def test_words_keep_their_folders_as_splits_and_come_at_16_khz(artificial: Path, tmp_path: Path) -> None:
    manifest = prepare(find_artificial_speech(artificial, part="words"), tmp_path / "out")
    assert {name: split.utterances for name, split in manifest.splits.items()} == {
        "train": 11,
        "validation": 1,
        "test": 3,
    }
    assert manifest.corpus == "artificial-speech"
    assert manifest.options["resample"] is True
    assert manifest.splits["test"].hours == pytest.approx(3 * 38_000 / 44_100 / 3600, rel=1e-3)


def test_a_syllable_has_its_text_as_transcript_and_its_word_as_chapter(artificial: Path) -> None:
    (artificial / "split up data padded" / "train" / "noise.wav").write_bytes(b"")
    corpus = find_artificial_speech(artificial / "split up data padded", part="syllables")
    assert len(corpus.utterances) == 45
    one = next(item for item in corpus.utterances if item.utterance_id == "train-bagidu_1_2_gi")
    assert (one.transcript, one.chapter_id, one.split) == ("gi", "bagidu", "train")
    assert [item.path_or_id for item in corpus.skipped] == ["train/noise.wav"]


def test_a_name_in_train_and_in_test_is_two_utterances(artificial: Path, tmp_path: Path) -> None:
    """As in the corpus: its test folder of syllables has 360 names, which all stand in train too."""
    folder = artificial / "split up data padded"
    for path in range(1, 4):
        shutil.copy(
            folder / "test" / f"didugi_1_{path}_{'didugi'[2 * path - 2 : 2 * path]}.wav", folder / "train"
        )
    manifest = prepare(
        find_artificial_speech(artificial, part="syllables"), tmp_path / "out", validation_fraction=0
    )
    assert {name: split.utterances for name, split in manifest.splits.items()} == {
        "train": 39,
        "validation": 0,
        "test": 9,
    }
    train, test = (read_lengths(Location(tmp_path / "out"), split) for split in ("train", "test"))
    assert {"train-didugi_1_1_di", "train-didugi_1_3_gi"} <= train.keys()
    assert sorted(test)[0] == "test-didugi_1_1_di"


def test_validation_holds_whole_recordings(artificial: Path, tmp_path: Path) -> None:
    for part in ("words", "syllables"):
        corpus = find_artificial_speech(artificial, part=part)  # type: ignore[arg-type]
        prepare(corpus, tmp_path / part, validation_fraction=0.25, workers=0)

    def takes(part: str, split: str) -> set[str]:
        return {"_".join(name.split("_")[:2]) for name in read_lengths(Location(tmp_path / part), split)}

    syllables = read_lengths(Location(tmp_path / "syllables"), "validation")
    assert len(syllables) == 3 * len(takes("syllables", "validation")) == 9
    assert not takes("syllables", "validation") & takes("syllables", "train")
    assert takes("syllables", "validation") == takes("words", "validation")


def test_files_outside_of_the_layout_are_skipped_with_the_reason(artificial: Path) -> None:
    folder = artificial / "split up data padded"
    (folder / "train" / "more").mkdir()
    for odd in ("train/more/bagidu_1_1_ba.wav", "bagidu_1_1_ba.wav", "train/bagidu_1_2_xx.wav", "train/.wav"):
        shutil.copy(folder / "train" / "bagidu_1_1_ba.wav", folder / odd)
    (folder / "test" / "didugi_1_1_di.wav").rename(folder / "test" / "didugi_1_1_di.WAV")
    corpus = find_artificial_speech(artificial, part="syllables")
    reasons = {item.path_or_id: item.reason for item in corpus.skipped}
    assert len(reasons) == 4
    assert "has no split" in reasons["train/more/bagidu_1_1_ba.wav"]
    assert "has no split" in reasons["bagidu_1_1_ba.wav"]
    assert "not named like" in reasons["train/bagidu_1_2_xx.wav"]
    assert len(corpus.utterances) == 45
    assert corpus.warnings == ()


def test_two_files_with_one_id_are_refused(artificial: Path, tmp_path: Path) -> None:
    folder = artificial / "reshuffledv2" / "train"
    shutil.copy(folder / "bagidu_1.wav", folder / "bagidu_1.WAV")
    with pytest.raises(
        DataError, match=r"1 utterance id more than once .*train-bagidu_1 in train/bagidu_1\.\w+ and"
    ):
        prepare(find_artificial_speech(artificial), tmp_path / "out")


def test_an_empty_folder_is_named(artificial: Path, tmp_path: Path) -> None:
    shutil.rmtree(artificial / "reshuffledv2" / "test")
    manifest = prepare(find_artificial_speech(artificial), tmp_path / "out")
    assert manifest.warnings == ("there are no words in reshuffledv2/test, so the test split is empty",)
    assert manifest.splits["test"].utterances == 0


def test_lists_may_name_utterances_as_vgim_0_1_did(artificial: Path, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("bagidu_1\ntrain-gidaba_1\n")
    (tmp_path / "test.txt").write_text("didugi_1\n")
    lists = {"train_list": str(tmp_path / "train.txt"), "test_list": str(tmp_path / "test.txt")}
    prepare(find_artificial_speech(artificial), tmp_path / "out", validation_fraction=0, **lists)
    shards = Location(tmp_path / "out")
    assert sorted(read_lengths(shards, "train")) == ["train-bagidu_1", "train-gidaba_1"]
    assert list(read_lengths(shards, "test")) == ["test-didugi_1"]

    (tmp_path / "train.txt").write_text("bagidu_1\ntrain-bagidu_1\n")
    with pytest.raises(DataError, match="the train list names train-bagidu_1 also as bagidu_1; remove one"):
        prepare(find_artificial_speech(artificial), tmp_path / "other", **lists)
    shutil.copy(artificial / "reshuffledv2/test/didugi_1.wav", artificial / "reshuffledv2/train")
    (tmp_path / "train.txt").write_text("bagidu_1\n")
    with pytest.raises(
        DataError, match="test list names didugi_1, which is test-didugi_1 or train-didugi_1; write"
    ):
        prepare(find_artificial_speech(artificial), tmp_path / "other", **lists)


def test_a_folder_that_vgim_0_1_prepared_is_left_alone(artificial: Path, tmp_path: Path) -> None:
    now = find_artificial_speech(artificial)
    earlier = [replace(item, utterance_id=item.earlier_id or "", earlier_id=None) for item in now.utterances]
    prepare(replace(now, utterances=tuple(earlier)), tmp_path / "out")
    before = read_lengths(Location(tmp_path / "out"), "validation")
    with pytest.raises(DataError, match="or by an earlier vgim, whose utterance ids had no split"):
        prepare(now, tmp_path / "out")
    assert read_lengths(Location(tmp_path / "out"), "validation") == before
    prepare(now, tmp_path / "new")
    assert read_lengths(Location(tmp_path / "new"), "validation") == {
        f"train-{name}": n for name, n in before.items()
    }
