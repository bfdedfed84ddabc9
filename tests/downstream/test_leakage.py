"""A probe says whether the encoder was trained on the audio it reports on."""

from __future__ import annotations

from pathlib import Path

import pytest

from vgim.config import RunConfig
from vgim.config.schema import DataConfig, SyntheticConfig
from vgim.data.corpora.artificial_speech import find_artificial_speech
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


def test_a_syllable_of_a_training_word_counts_as_seen(tmp_path: Path) -> None:
    import numpy as np
    import soundfile

    corpus = tmp_path / "artificial"
    files = {
        "reshuffledv2/train/bagidu_1.wav": 44_100,
        "reshuffledv2/train/bagidu_2.wav": 44_100,
        "reshuffledv2/test/dugabi_1.wav": 44_100,
        "split up data padded/train/bagidu_1_1_ba.wav": 22_050,
        "split up data padded/test/bagidu_2_2_gi.wav": 22_050,  # its word was trained on
        "split up data padded/test/dugabi_1_1_du.wav": 22_050,
    }
    for name, rate_hz in files.items():
        (corpus / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(corpus / name, np.zeros(rate_hz // 2), rate_hz)
    for part in ("words", "syllables"):
        found = find_artificial_speech(corpus, part=part)  # type: ignore[arg-type]
        prepare(found, tmp_path / part, validation_fraction=0.0, workers=0)
    words = tmp_path / "words"
    assert seen(words, read_manifest(words).fingerprint, tmp_path / "syllables") == 1
