"""PocketSphinx as an aligner: on real speech where there is some, and what it refuses."""

from __future__ import annotations

from operator import eq
from pathlib import Path

import numpy as np
import pytest
import soundfile

from vgim.data.align.aligner import NoAlignment, make_aligner
from vgim.data.align.pocketsphinx import INVENTORY, PocketSphinx
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.phone_labels import read_labels
from vgim.data.corpora.synthetic import synthesize
from vgim.errors import DataError

pytest.importorskip("pocketsphinx", reason="pocketsphinx has no wheel for this Python")

NOISE = np.random.default_rng(0).integers(-3000, 3000, 24_000, dtype=np.int16)


@pytest.fixture(scope="module")
def aligner() -> PocketSphinx:
    return PocketSphinx()


@pytest.mark.parametrize(
    ("transcript", "reason"),
    [
        ("", "it has no transcript"),
        (" -- ", "it has no transcript"),
        ("HELLO XQZZY WORLD", "no pronunciation of xqzzy"),
        (" ".join(["CONSTITUTIONALLY"] * 20), "the words do not fit the audio"),
    ],
)
def test_what_cannot_be_aligned_says_why(aligner: PocketSphinx, transcript: str, reason: str) -> None:
    with pytest.raises(NoAlignment, match=reason):
        aligner.align(NOISE, transcript)
    with pytest.raises(NoAlignment, match="too few"):
        aligner.align(NOISE[:100], "GO")


def test_words_of_a_dictionary_are_known(tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("Xqzzy(2) K S IH1 Z IY0\nhello HH AH0 L OW1\n")
    with pytest.raises(NoAlignment, match="the words do not fit the audio"):
        PocketSphinx(str(file)).align(NOISE, "xqzzy")
    file.write_text("xqzzy K Q\n")
    with pytest.raises(DataError, match=r"words\.txt, line 1: expected a word and its phones \(AA to ZH\)"):
        make_aligner("pocketsphinx", str(file))
    with pytest.raises(DataError, match="there is no dictionary"):
        make_aligner("pocketsphinx", str(tmp_path / "none"))


def test_real_speech_has_the_labels_that_the_same_model_gave_it_before(
    aligner: PocketSphinx, realdata_dir: Path
) -> None:
    if not (realdata_dir / "phones.txt").exists():
        pytest.skip("the corpus has no labels")
    expected = read_labels(realdata_dir / "phones.txt")
    assert expected.inventory == INVENTORY
    some = find_librispeech(realdata_dir).utterances[:12]
    equal = total = 0
    for item in some:
        audio = soundfile.read(realdata_dir / item.path, dtype="int16")[0]
        theirs = expected.phones[item.utterance_id]
        with pytest.raises(NoAlignment, match="fit"):
            aligner.align(NOISE, item.transcript)
        ours = aligner.align(audio, item.transcript)
        np.testing.assert_array_equal(ours, aligner.align(audio, item.transcript))
        equal += int((ours[: len(theirs)] == theirs[: len(ours)]).sum())
        total += len(theirs)
    assert equal / total > 0.99


def test_synthetic_speech_has_its_known_phones_nearly_everywhere(tmp_path: Path) -> None:
    synthesize(tmp_path, speakers=2, utterances=4, seed=0)
    known = read_labels(tmp_path / "phones.txt")
    aligner = PocketSphinx(str(tmp_path / "dictionary.txt"))
    equal = total = 0
    for item in find_librispeech(tmp_path).utterances:
        audio = soundfile.read(tmp_path / item.path, dtype="int16")[0]
        found = [INVENTORY[number] for number in aligner.align(audio, item.transcript)]
        spoken = [known.inventory[number] for number in known.phones[item.utterance_id]]
        equal += sum(map(eq, found, spoken))
        total += len(spoken)
    assert equal / total > 0.8  # the two place a phone's borders by different rules
