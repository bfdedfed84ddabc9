"""The embedded corpus is deterministic, written whole or not at all, and its phones and voices sound different."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.recorded import Recorded, RecordedStage
from vgim.config.schema import SyntheticConfig
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.phone_labels import read_labels
from vgim.data.corpora.synthetic import synthesize
from vgim.data.corpora.synthetic_phones import PHONES
from vgim.data.shards.embedded import prepare_embedded
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.errors import ConfigError, DataError, StorageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "corpus"
    synthesize(out, speakers=4, utterances=24, seed=7)
    return out


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "again", speakers=4, utterances=24, seed=7)
    assert files_of(tmp_path / "again") == files_of(corpus)
    synthesize(tmp_path / "other", speakers=4, utterances=4, seed=8)
    first = "synth-clean/101/10100/101-10100-0000.flac"
    assert files_of(tmp_path / "other")[first] != files_of(corpus)[first]


def test_the_layout_is_librispeechs_with_labels_for_every_frame(corpus: Path) -> None:
    found = find_librispeech(corpus)
    labels = read_labels(corpus / "phones.txt")
    assert found.name == "synthetic"
    assert len(found.utterances) == len(labels.phones) == 24
    assert labels.inventory == tuple(phone.name for phone in PHONES)
    assert len(labels.inventory) >= 21
    for item in found.utterances:
        info = soundfile.info(corpus / item.path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 2.0 <= info.duration <= 8.0
        assert info.frames == 160 * len(labels.phones[item.utterance_id])
        assert item.transcript
    speakers = (corpus / "SPEAKERS.TXT").read_text().splitlines()[1:]
    assert [line.split("|")[0].strip() for line in speakers] == ["101", "102", "103", "104"]


def frames_by_phone(corpus: Path, speaker: str) -> dict[str, np.ndarray]:
    """Mean power spectrum per phone of a speaker, 16 ms around the middle of each 10 ms label."""
    labels = read_labels(corpus / "phones.txt")
    pieces: dict[str, list[np.ndarray]] = {}
    for item in find_librispeech(corpus).utterances:
        if item.speaker_id == speaker:
            samples, _ = soundfile.read(corpus / item.path)
            for frame, phone in enumerate(labels.phones[item.utterance_id][1:-1], start=1):
                piece = samples[frame * 160 - 48 : frame * 160 + 208] * np.hanning(256)
                pieces.setdefault(labels.inventory[phone], []).append(np.abs(np.fft.rfft(piece)) ** 2)
    return {name: np.mean(spectra, axis=0) for name, spectra in pieces.items()}


def test_phones_sound_like_themselves(corpus: Path) -> None:
    hz = np.fft.rfftfreq(256, 1 / 16_000)
    spectra = frames_by_phone(corpus, "101")
    low, high = hz < 1000, hz > 4000

    def share(name: str, band: np.ndarray) -> float:
        return float(spectra[name][band].sum() / spectra[name].sum())

    assert share("S", high) > 0.7  # a hiss is high
    assert share("AA", high) < 0.05
    assert share("M", low) > 0.8  # a murmur is low
    for vowel in ("IY", "AA", "AE"):
        assert spectra["SIL"].sum() < spectra[vowel].sum() / 100
    second = (hz > 1500) & (hz < 2800)  # the second formant tells front from back vowels
    assert share("IY", second) / share("IY", low) > 3 * share("AO", second) / share("AO", low)


def test_voices_differ(corpus: Path) -> None:
    spectra = [frames_by_phone(corpus, speaker)["AH"] for speaker in ("101", "102", "103")]
    normed = [np.log(spectrum / spectrum.sum()) for spectrum in spectra]
    for one in range(3):
        for other in range(one):
            assert np.abs(normed[one] - normed[other]).mean() > 0.3


def test_the_same_corpus_is_not_made_again_and_other_numbers_are_refused(corpus: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    assert synthesize(corpus, speakers=4, utterances=24, seed=7).unchanged
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    with pytest.raises(DataError, match="holds a synthetic corpus with seed=7, not 8"):
        synthesize(corpus, speakers=4, utterances=24, seed=8)
    with pytest.raises(DataError, match=r"holds other files \(101, 102, 103 and 1 more\)"):
        synthesize(corpus / "synth-clean", speakers=4, utterances=24, seed=7)
    with pytest.raises(ConfigError, match="speakers=3, utterances=2"):
        synthesize(corpus / "new", speakers=3, utterances=2)


def test_an_interrupted_synthesis_leaves_no_corpus(tmp_path: Path) -> None:
    def stop(stage: RecordedStage) -> None:
        if stage.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path / "corpus", speakers=2, utterances=4, progress=Recorded(stop))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "corpus").mkdir()  # an empty folder is as good as none
    assert not synthesize(tmp_path / "corpus", speakers=2, utterances=4).unchanged


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"^cannot write .*/file/corpus: a part of the path is a file"):
        synthesize(tmp_path / "file" / "corpus", speakers=2, utterances=4)


def test_all_utterances_are_prepared_from_a_folder_and_straight_to_shards(
    corpus: Path, tmp_path: Path
) -> None:
    manifest = prepare(find_librispeech(corpus), tmp_path / "shards")
    assert manifest.num_utterances == 24
    assert (manifest.skipped, manifest.warnings) == ((), ())
    config = SyntheticConfig(speakers=4, utterances=24, seed=7)
    straight = prepare_embedded(tmp_path / "straight", config)
    assert straight.fingerprint == manifest.fingerprint
    assert prepare_embedded(tmp_path / "straight", config) == straight
    with pytest.raises(DataError, match=r"seed=7\), not the embedded corpus with .* seed=8"):
        prepare_embedded(tmp_path / "straight", config.model_copy(update={"seed": 8}))
    assert read_manifest(tmp_path / "straight") == straight
