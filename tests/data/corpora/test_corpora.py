"""Corpora are found in their published layouts. A folder without one is refused with the expected layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from vgim.data.corpora.artificial_speech import find_artificial_speech
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError


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
    with pytest.raises(DataError, match="in the subsets other: expected SUBSET/SPEAKER"):
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
    one = next(item for item in corpus.utterances if item.utterance_id == "bagidu_1_2_gi")
    assert (one.transcript, one.chapter_id, one.split) == ("gi", "bagidu", "train")
    assert [item.path_or_id for item in corpus.skipped] == ["train/noise.wav"]
