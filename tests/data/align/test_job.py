"""Labels that are written beside shards: by an aligner that calls each word a phone, for as long as the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from vgim import open_shards
from vgim.cli import main
from vgim.data.align import aligner as aligners
from vgim.data.align.aligner import NoAlignment
from vgim.data.align.job import align
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.phone_labels import Phones
from vgim.data.pcm import Pcm16
from vgim.data.shards.alignment import phone_path
from vgim.data.shards.check import check_shards_present, verify
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import read_utterances
from vgim.errors import ConfigError, DataError, StorageError
from vgim.storage import Location

BAD = "2-7-0003"


class Words:
    """Calls the words of an utterance A, B, A, B, ..."""

    description = "words 1"
    inventory = ("A", "B")
    aligned = 0
    stops_after = 10**9

    def align(self, audio: Pcm16, transcript: str) -> Phones:
        Words.aligned += 1
        if Words.aligned > Words.stops_after:
            raise StorageError("stopped")
        words = transcript.split()
        if not words:
            raise NoAlignment("it has no transcript")
        return np.linspace(0, len(words), len(audio) // 160, endpoint=False).astype(np.int16) % 2


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(aligners.ALIGNERS, "words", lambda dictionary: Words())
    monkeypatch.setattr(Words, "aligned", 0)
    monkeypatch.setattr(Words, "stops_after", 10**9)


@pytest.fixture
def shards(make_corpus: Callable[..., Path], tmp_path: Path) -> Path:
    """Shards of thirty utterances, several a split, one of which has no transcript."""
    root = make_corpus()
    (file,) = (root / "some-clean/2/7").glob("*.trans.txt")
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith(BAD)))
    prepare(find_librispeech(root), tmp_path / "shards", target_shard_bytes=200_000)
    return tmp_path / "shards"


def labels(shards: Path) -> dict[str, Phones | None]:
    folder = Location(shards)
    manifest = read_manifest(folder)
    return {
        utterance.utterance_id: utterance.phones
        for split in manifest.splits
        for utterance in read_utterances(folder, manifest, split)
    }


def test_every_reader_has_the_labels_and_the_shards_stay_as_they_are(shards: Path) -> None:
    before = {path: path.read_bytes() for path in shards.rglob("*") if path.is_file()}
    fingerprint = read_manifest(shards).fingerprint
    manifest = align(str(shards), aligner="words")
    assert {path: path.read_bytes() for path in before} == before
    assert manifest == read_manifest(shards)
    assert (manifest.fingerprint, manifest.phone_inventory) == (fingerprint, ("A", "B"))
    assert manifest.alignment is not None
    assert manifest.alignment.unaligned == {BAD: "it has no transcript"}
    found = labels(shards)
    assert found.pop(BAD) is None
    assert len(found) == 29
    for phones in found.values():
        assert phones is not None
        assert set(phones.tolist()) == {0, 1}
    item = open_shards(str(shards), "train")[0]
    np.testing.assert_array_equal(item["phones"].numpy(), found[item["utterance_id"]])
    check_shards_present(shards, manifest)
    assert verify(shards) == []


def test_an_interrupted_alignment_goes_on_with_the_shards_without_labels(shards: Path) -> None:
    Words.stops_after = 12
    with pytest.raises(StorageError):
        align(str(shards), aligner="words")
    assert read_manifest(shards).alignment is None
    num_done = sum(len(labels) for labels in [list(shards.rglob("*.phones.parquet"))])
    assert num_done >= 1
    Words.aligned, Words.stops_after = 0, 10**9
    align(str(shards), aligner="words")
    assert 0 < Words.aligned < 30
    Words.aligned = 0
    align(str(shards), aligner="words")
    assert Words.aligned == 0


def test_another_aligner_or_dictionary_makes_the_labels_again(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = align(str(shards), aligner="words")
    (tmp_path / "words.txt").write_text("hello HH AH L OW\n")
    Words.aligned = 0
    align(str(shards), aligner="words", dictionary=str(tmp_path / "words.txt"))
    assert Words.aligned == 30
    monkeypatch.setattr(Words, "description", "words 2")
    again = align(str(shards), aligner="words")
    assert Words.aligned == 60
    assert again.alignment is not None
    assert again.alignment.aligner == "words 2"
    assert again.labels_digest != first.labels_digest


def test_damaged_labels_are_told_and_mended_by_the_same_command(shards: Path) -> None:
    manifest = align(str(shards), aligner="words")
    path = phone_path(manifest.split("train").shards[0].path)
    data = (shards / path).read_bytes()
    (shards / path).write_bytes(data[:-1])
    with pytest.raises(DataError, match=rf"{path} has {len(data) - 1} bytes, expected {len(data)}"):
        check_shards_present(shards, manifest)
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    (shards / path).write_bytes(flipped)
    assert verify(shards) == [f"{path} is damaged (its SHA-256 is not that of alignment.json)"]
    (shards / path).unlink()
    with pytest.raises(DataError, match=rf"{path} is missing"):
        check_shards_present(shards, manifest)
    assert align(str(shards), aligner="words") == manifest
    assert verify(shards) == []


@pytest.mark.parametrize("damage", ["cut", "digit"])
def test_a_damaged_record_is_told_with_the_way_back(shards: Path, damage: str) -> None:
    align(str(shards), aligner="words")
    file = shards / "alignment.json"
    text = file.read_text()
    file.write_text(text[:50] if damage == "cut" else text.replace("words 1", "words 3"))
    with pytest.raises(DataError, match=r"alignment\.json is damaged .*remove it, and run `vgim data align"):
        read_manifest(shards)
    file.unlink()
    align(str(shards), aligner="words")
    assert json.loads(file.read_text()) == json.loads(text)


def test_labels_of_the_preparation_are_kept(make_corpus: Callable[..., Path], tmp_path: Path) -> None:
    prepare(find_librispeech(make_corpus(labels=True)), tmp_path / "shards")
    with pytest.raises(DataError, match="has phone labels of 3 classes already, from its preparation"):
        align(str(tmp_path / "shards"), aligner="words")


def test_shards_of_which_nothing_can_be_aligned_say_why(
    make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_corpus()
    for file in root.rglob("*.trans.txt"):
        file.unlink()
    prepare(find_librispeech(root), tmp_path / "shards")
    with pytest.raises(
        DataError, match=r"no utterance of .* could be aligned; the first is .*: it has no transcript"
    ):
        align(str(tmp_path / "shards"), aligner="words")


def test_the_command_lists_what_is_left_without_labels(shards: Path) -> None:
    result = CliRunner().invoke(main, ["data", "align", str(shards), "--aligner", "words"])
    assert result.exit_code == 0, result.output
    assert f"not aligned: {BAD}: it has no transcript" in result.stderr
    assert "phone labels: 2 classes, aligned by words 1, 1 utterance without" in result.stdout
    wrong = CliRunner().invoke(main, ["data", "align", str(shards), "--aligner", "kaldi"])
    assert wrong.exit_code == 2
    with pytest.raises(ConfigError, match="there is no aligner 'kaldi'"):
        align(str(shards), aligner="kaldi")


class Deaf:
    """Aligns nothing, or the first utterances only."""

    description = "deaf 1"
    inventory = ("A",)
    hears = 0

    def align(self, audio: Pcm16, transcript: str) -> Phones:
        if Deaf.hears:
            Deaf.hears -= 1
            return np.zeros(len(audio) // 160, np.int16)
        if Deaf.stops:
            raise KeyboardInterrupt
        raise NoAlignment("it hears nothing")

    stops = False


@pytest.mark.parametrize("how", ["aligns nothing", "is interrupted"])
def test_labels_from_before_stay_whole_until_another_aligners_are_all_there(
    shards: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setitem(aligners.ALIGNERS, "deaf", lambda dictionary: Deaf())
    align(str(shards), aligner="words")
    before = labels(shards)
    monkeypatch.setattr(Deaf, "stops", how == "is interrupted")
    monkeypatch.setattr(Deaf, "hears", 20 if Deaf.stops else 0)
    with pytest.raises(KeyboardInterrupt if Deaf.stops else DataError):
        align(str(shards), aligner="deaf")
    assert verify(shards) == []
    check_shards_present(Location(shards), read_manifest(shards))
    for name, phones in labels(shards).items():
        np.testing.assert_array_equal(phones, before[name])
    monkeypatch.setattr(Deaf, "hears", 1000)
    assert align(str(shards), aligner="deaf").phone_inventory == ("A",)
    assert not (shards / ".aligning").exists()


def test_a_kill_between_the_labels_and_their_record_is_mended_by_the_same_command(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(aligners.ALIGNERS, "deaf", lambda dictionary: Deaf())
    monkeypatch.setattr(Deaf, "hears", 1000)
    align(str(shards), aligner="words")

    def dies(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vgim.data.align.job.write_alignment", dies)
        with pytest.raises(KeyboardInterrupt):
            align(str(shards), aligner="deaf")
    monkeypatch.setattr(Deaf, "hears", 0)  # nothing is aligned again
    assert align(str(shards), aligner="deaf").phone_inventory == ("A",)
    assert verify(shards) == []
