"""A probe says whether the encoder was trained on the audio it reports on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from vgim.config import RunConfig
from vgim.config.schema import DataConfig, SyntheticConfig
from vgim.data.corpora.artificial_speech import Part, find_artificial_speech
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.synthetic import synthesize
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.downstream import leakage
from vgim.storage import Location


def seen(own: Path, trained_on: str, probed: Path) -> int | None:
    config = RunConfig(data=DataConfig(shards=str(own), synthetic=SyntheticConfig()))
    return leakage.count_seen(config, trained_on, Location(probed), read_manifest(probed))


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """One corpus, split in two ways."""
    synthesize(tmp_path / "corpus", speakers=2, utterances=20, seed=0)
    for name, seed in (("one", 0), ("other", 1)):
        prepare(
            find_librispeech(tmp_path / "corpus"), tmp_path / name, seed=seed, test_fraction=0.4, workers=0
        )
    return tmp_path / "one", tmp_path / "other"


def test_no_test_utterance_of_the_runs_own_shards_counts_as_seen(two: tuple[Path, Path]) -> None:
    one, _ = two
    fingerprint = read_manifest(one).fingerprint
    assert seen(one, fingerprint, one) == 0
    assert seen(Path("gone"), fingerprint, one) == 0  # by the fingerprint, wherever they lie


def test_test_utterances_of_another_split_of_the_corpus_are_counted_as_seen(two: tuple[Path, Path]) -> None:
    one, other = two
    from vgim.data.shards.read import read_lengths

    expected = len(set(read_lengths(Location(one), "train")) & set(read_lengths(Location(other), "test")))
    assert expected > 0
    assert seen(one, read_manifest(one).fingerprint, other) == expected


def test_the_count_is_unknown_without_the_data_of_training(two: tuple[Path, Path]) -> None:
    one, other = two
    assert seen(one.parent / "gone", read_manifest(one).fingerprint, other) is None
    assert seen(one, "other data", other) is None


def write_artificial(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(root / name, np.zeros(8_000), 16_000)


def prepare_both(folder: Path) -> tuple[Path, Path]:
    parts: tuple[Part, Part] = ("words", "syllables")
    for part in parts:
        corpus = find_artificial_speech(folder / "artificial", part=part)
        prepare(corpus, folder / part, validation_fraction=0.0, workers=0)
    return folder / "words", folder / "syllables"


def test_a_syllable_of_a_training_word_counts_as_seen(tmp_path: Path) -> None:
    write_artificial(
        tmp_path / "artificial",
        "reshuffledv2/train/bagidu_1.wav",
        "reshuffledv2/train/bagidu_2.wav",
        "reshuffledv2/test/dugabi_1.wav",
        "split up data padded/train/bagidu_1_1_ba.wav",
        "split up data padded/test/bagidu_2_2_gi.wav",  # its word was trained on
        "split up data padded/test/dugabi_1_1_du.wav",
    )
    words, syllables = prepare_both(tmp_path)
    assert seen(words, read_manifest(words).fingerprint, syllables) == 1


def test_a_syllable_whose_name_is_in_train_too_is_of_the_words_next_take(tmp_path: Path) -> None:
    write_artificial(
        tmp_path / "artificial",
        "reshuffledv2/train/bagidu_1.wav",
        "reshuffledv2/train/bagidu_2.wav",
        "reshuffledv2/train/dugabi_1.wav",
        "reshuffledv2/test/dugabi_2.wav",
        "split up data padded/train/bagidu_1_1_ba.wav",
        "split up data padded/train/dugabi_1_1_du.wav",
        "split up data padded/test/bagidu_1_1_ba.wav",  # cut from bagidu_2, which was trained on
        "split up data padded/test/dugabi_1_1_du.wav",  # cut from dugabi_2, which was not
        "split up data padded/test/dugabi_1_2_ga.wav",
    )
    words, syllables = prepare_both(tmp_path)
    assert seen(words, read_manifest(words).fingerprint, syllables) == 1
