"""A corpus in one file and one line of the registry is known to every command; old and foreign manifests still read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner, Result

from vgim.cli import main
from vgim.config import load_config
from vgim.config.schema import DataConfig
from vgim.data.corpora.corpus import Corpus, SourceUtterance
from vgim.data.corpora.kind import CorpusKind, CorpusOption, CorpusTraits
from vgim.data.corpora.registry import (
    CORPORA,
    corpora_of,
    corpus_title,
    corpus_traits,
    find_corpus,
    joined_name,
)
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare_named import prepare_named
from vgim.data.shards.read import read_lengths
from vgim.data.stream.readers import read_in_process
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.downstream.leakage import count_seen
from vgim.errors import ConfigError
from vgim.report.config_text import config_terms
from vgim.storage import Location

NUM_SONGS, NOTE_SAMPLES = 12, 8_000


def find_songs(root: str | Path | Location, *, part: str = "whole", keys: tuple[str, ...] = ()) -> Corpus:
    """List `SONG.wav`, or the notes `SONG-NUMBER.wav` that are cut from them, of one singer."""
    folder = Location(root)
    utterances = [
        SourceUtterance(
            utterance_id=path.removesuffix(".wav"),
            speaker_id="singer",
            chapter_id=path[0],
            path=path,
            size_bytes=size,
            transcript="do" if "-" in path else "do re",
        )
        for path, size in folder.list_files()
        if ("-" in path) == (part == "notes") and (not keys or path[0] in keys)
    ]
    return Corpus("songs", folder, tuple(utterances), min_samples=0, variant=part)


def traits(variant: str | None) -> CorpusTraits:
    return CorpusTraits(
        syllables=("do", "re") if variant == "notes" else (),
        recordings_of=lambda utterance_ids: {name: name.partition("-")[0] for name in utterance_ids},
    )


SONGS = CorpusKind(
    name="songs",
    title="Songs of one singer",
    help="A folder of songs. Reads SONG.wav.",
    find=find_songs,
    options=(
        CorpusOption("part", "--part", choices=("whole", "notes"), default="whole"),
        CorpusOption("keys", "--key", is_repeatable=True),
    ),
    traits=traits,
)


@pytest.fixture
def songs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in the registry."""
    monkeypatch.setitem(CORPORA, SONGS.name, SONGS)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Songs of two notes each, in the keys a and b, and each song's notes as files of their own."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    for song in range(NUM_SONGS):
        samples = np.random.default_rng(song).integers(-3000, 3000, 2 * NOTE_SAMPLES, dtype=np.int16)
        name = f"{'ab'[song % 2]}{song:02d}"
        soundfile.write(folder / f"{name}.wav", samples, 16_000, subtype="PCM_16")
        for note in range(2):
            cut = samples[note * NOTE_SAMPLES : (note + 1) * NOTE_SAMPLES]
            soundfile.write(folder / f"{name}-{note}.wav", cut, 16_000, subtype="PCM_16")
    return folder


def vgim(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [str(arg) for arg in args])


def prepare_songs(corpus: Path, out: Path, *options: str) -> None:
    places = ("--corpus", corpus, "--out", out, "--workers", "0")
    result = vgim("data", "prepare", "songs", *places, *options)
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("songs")
def test_a_registered_corpus_has_a_verb_with_its_own_options(corpus: Path, tmp_path: Path) -> None:
    assert "songs  " in vgim("data", "prepare", "--help").stdout
    described = vgim("data", "prepare", "songs", "--help").stdout
    assert "A folder of songs." in described
    assert "--part [whole|notes]" in described
    assert "--codec [pcm16|flac]" in described
    prepare_songs(corpus, tmp_path / "whole")
    assert read_manifest(tmp_path / "whole").num_utterances == NUM_SONGS
    prepare_songs(corpus, tmp_path / "notes", "--part", "notes", "--key", "a", "--codec", "flac")
    notes = read_manifest(tmp_path / "notes")
    assert (notes.num_utterances, notes.codec, notes.variant) == (NUM_SONGS, "flac", "notes")
    refused = vgim("data", "prepare", "songs", "--corpus", corpus, "--out", tmp_path / "x", "--part", "half")
    assert refused.exit_code == 2


@pytest.mark.usefixtures("songs")
def test_crops_of_a_registered_corpus_are_its_samples(corpus: Path, tmp_path: Path) -> None:
    prepare_songs(corpus, tmp_path / "shards")
    stream = CropStream(
        Location(tmp_path / "shards"),
        read_manifest(tmp_path / "shards"),
        DataConfig(shards="unused", crop_samples=4_000),
        split="train",
        rank_slice=RankSlice(0, 1, 5),
        seed=0,
        reader=read_in_process,
    )
    ids = list(read_lengths(Location(tmp_path / "shards"), "train"))
    batches = list(stream.train_batches(0, 0, epochs=1))
    assert [len(batch.start) for batch in batches] == [5, 5]
    for batch in batches:
        for crop, utterance, start in zip(batch.audio, batch.utterance, batch.start, strict=True):
            file = corpus / f"{ids[utterance]}.wav"
            np.testing.assert_array_equal(crop, soundfile.read(file, 4_000, start, dtype="int16")[0])


@pytest.mark.usefixtures("songs")
def test_traits_and_title_of_a_registered_corpus_are_used(corpus: Path, tmp_path: Path) -> None:
    prepare_songs(corpus, tmp_path / "whole")
    prepare_songs(corpus, tmp_path / "notes", "--part", "notes", "--test-fraction", "0.5")
    whole, notes = (read_manifest(tmp_path / name) for name in ("whole", "notes"))
    assert whole.traits.syllables == ()
    assert notes.traits.syllables == ("do", "re")
    config = load_config("quickstart", [f"data.shards={tmp_path / 'whole'}"]).config
    assert ("Data", f"Songs of one singer in {tmp_path / 'whole'}") in config_terms(config, whole, None)
    # 10 of 12 songs are in the train split, so of the 12 notes to test at least 8 are cut from one of these
    seen = count_seen(config, whole.fingerprint, Location(tmp_path / "notes"), notes)
    assert seen is not None
    assert 8 <= seen <= 12


def test_a_manifest_of_a_corpus_that_is_not_registered_reads_with_default_traits(
    corpus: Path, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CORPORA, SONGS.name, SONGS)
        prepare_songs(corpus, tmp_path / "shards", "--part", "notes")
    manifest = read_manifest(tmp_path / "shards")
    assert (manifest.corpus, manifest.corpus_title) == ("songs", "songs")
    assert manifest.traits == CorpusTraits()
    assert manifest.traits.recordings_of(["a00-1"]) == {"a00-1": "a00-1"}
    assert json.loads(vgim("data", "info", tmp_path / "shards", "--json").stdout)["corpus"] == "songs"
    assert "No such command 'songs'" in vgim("data", "prepare", "songs").stderr


def test_corpora_are_prepared_by_name_with_all_options_checked(make_corpus, tmp_path: Path) -> None:
    root = make_corpus()
    manifest = prepare_named(
        "librispeech",
        root,
        tmp_path / "out",
        subsets=["some-clean"],
        codec="flac",
        workers=0,
        min_samples=None,
    )
    assert (manifest.codec, manifest.variant, manifest.num_utterances) == ("flac", "some-clean", 30)
    with pytest.raises(ConfigError, match="no corpus 'synthetic' can be prepared; choose from librispeech"):
        prepare_named("synthetic", root, tmp_path / "out")
    with pytest.raises(ConfigError, match="there is no option 'part' for this corpus; `prepare` has codec"):
        prepare_named("librispeech", root, tmp_path / "out", part="words")
    with pytest.raises(ConfigError, match=r"codec='mp3': Input should be 'pcm16' or 'flac'"):
        prepare_named("librispeech", root, tmp_path / "out", codec="mp3")
    with pytest.raises(ConfigError, match="part='sentences': choose from words, syllables"):
        find_corpus("artificial-speech", root, part="sentences")
    with pytest.raises(ConfigError, match="the corpus librispeech has no option 'takes'; it has subsets"):
        find_corpus("librispeech", root, takes=2)


def test_a_syllable_of_artificial_speech_belongs_to_the_word_it_was_cut_from() -> None:
    words, syllables = (corpus_traits("artificial-speech", part) for part in ("words", "syllables"))
    assert (words.syllables, len(syllables.syllables)) == ((), 9)
    assert words.recordings_of(["test-bagidu_1", "bagidu_1"]) == {
        "test-bagidu_1": "bagidu_2",
        "bagidu_1": "bagidu_1",
    }
    ids = [
        "train-bagidu_1_1_ba",
        "train-bagidu_1_2_gi",
        "test-bagidu_1_2_gi",
        "test-bagidu_3_2_gi",
        "test-didugi_1_1_di",
    ]
    # the syllables' folders number their takes each from 1: a name that train has too is the word's next take
    expected = ["bagidu_1", "bagidu_1", "bagidu_2", "bagidu_3", "didugi_1"]
    for order in (ids, ids[::-1]):
        assert syllables.recordings_of(order) == dict(zip(ids, expected, strict=True))
    assert syllables.recordings_of(["bagidu_1_2_gi", "other"]) == {
        "bagidu_1_2_gi": "bagidu_1",
        "other": "other",
    }
    assert corpus_title("artificial-speech") == "Artificial Speech"


def test_joined_corpora_have_the_names_and_the_recordings_of_each() -> None:
    name = joined_name(["librispeech", "folder", "folder+mine"])
    assert name == "folder+librispeech+mine"
    assert corpora_of(name) == {"folder", "librispeech", "mine"}
    assert corpus_title(name) == "a folder of sound files + LibriSpeech + mine"
    ids = ["103-1240-0000", "talk@100", "talk@900", "other"]
    recordings = corpus_traits(name, None).recordings_of(iter(ids))
    assert list(recordings.values()) == ["103-1240-0000", "talk", "talk", "other"]
    assert corpus_traits(joined_name(["artificial-speech", "librispeech"]), "syllables").syllables == ()
