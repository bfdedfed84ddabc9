"""Phone labels stay those of their utterances: in the shards, beside them, and with classes of other numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.reshard.conftest import SMALL, Preparer, utterances_of
from vgim.data.align import aligner as aligners
from vgim.data.align.aligner import NoAlignment
from vgim.data.align.job import align
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.corpora.phone_labels import Phones
from vgim.data.pcm import Pcm16
from vgim.data.reshard.merge import merge
from vgim.data.reshard.split import split
from vgim.data.reshard.subset import subset
from vgim.data.shards.check import verify
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.phone_counts import count_phones
from vgim.data.shards.prepare import prepare
from vgim.errors import DataError
from vgim.storage import Location


class Words:
    """Calls the words of an utterance SIL, T, SIL, T, ..."""

    description = "words 1"
    inventory = ("T", "SIL")
    aligned = 0

    def align(self, audio: Pcm16, transcript: str) -> Phones:
        Words.aligned += 1
        if transcript.endswith("3"):
            raise NoAlignment("it ends in 3")
        classes = np.linspace(0, len(transcript.split()), len(audio) // 160, endpoint=False)
        return classes.astype(np.int16) % 2


@pytest.fixture(autouse=True)
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(aligners.ALIGNERS, "words", lambda dictionary: Words())
    monkeypatch.setattr(Words, "aligned", 0)


def names_of(shards: Path) -> dict[str, list[str] | None]:
    """Utterance id → the name of the phone in each 10 ms."""
    inventory = read_manifest(shards).phone_inventory or ()
    return {
        name: None if item.phones is None else [inventory[number] for number in item.phones]
        for name, item in utterances_of(shards).items()
    }


def test_labels_in_shards_of_one_inventory_stay_in_the_shards(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a", last=2, labels=True), prepared("b", first=3, labels=True)
    manifest = merge([a, b], tmp_path / "ab")
    assert not (tmp_path / "ab" / "alignment.json").exists()
    assert manifest.phone_inventory == ("SIL", "AA", "T")
    assert names_of(tmp_path / "ab") == names_of(a) | names_of(b)


def test_aligned_shards_are_joined_with_their_label_files(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a", last=2), prepared("b", first=3)
    for folder in (a, b):
        align(folder, aligner="words")
    manifest = merge([a, b], tmp_path / "ab")
    assert verify(tmp_path / "ab") == []
    assert names_of(tmp_path / "ab") == names_of(a) | names_of(b)
    assert manifest.alignment is not None
    assert manifest.alignment.unaligned == {f"{n}-7-0003": "it ends in 3" for n in (1, 2, 3)}
    assert count_phones(Location(tmp_path / "ab"), manifest).num_labeled == 27
    Words.aligned = 0
    assert align(tmp_path / "ab", aligner="words") == manifest
    assert Words.aligned == 0  # nothing is left to align


def test_what_has_no_labels_is_joined_and_can_be_aligned_afterwards(
    prepared: Preparer, tmp_path: Path
) -> None:
    a, b = prepared("a", last=2), prepared("b", first=3)
    align(a, aligner="words")
    manifest = merge([a, b], tmp_path / "ab")
    assert verify(tmp_path / "ab") == []
    assert names_of(tmp_path / "ab") == names_of(a) | dict.fromkeys(utterances_of(b))
    assert "10 utterances of b without phone labels" in manifest.warnings
    Words.aligned = 0
    after = align(tmp_path / "ab", aligner="words")
    assert Words.aligned == 10  # those of b
    assert after.fingerprint == manifest.fingerprint
    assert count_phones(Location(tmp_path / "ab"), after).num_labeled == 27
    # The labels belong to the joined folder alone.
    assert read_manifest(b).alignment is None


def test_classes_of_other_numbers_are_matched_by_name(prepared: Preparer, tmp_path: Path) -> None:
    a = prepared("a", last=1, labels=True)
    prepared("b", first=2, last=2, labels=True)
    root = tmp_path / "corpus-b"
    (root / "phone_inventory.txt").write_text("0 T\n1 SIL\n2 AA\n")
    b = tmp_path / "renumbered"
    prepare(find_librispeech(root), b, target_shard_bytes=SMALL)
    manifest = merge([a, b], tmp_path / "ab")
    assert manifest.phone_inventory == ("AA", "SIL", "T")
    assert names_of(tmp_path / "ab") == names_of(a) | names_of(b)
    assert verify(tmp_path / "ab") == []


def test_phones_that_only_one_folder_has_need_a_word_from_the_user(
    prepared: Preparer, tmp_path: Path
) -> None:
    a, b = prepared("a", last=1, labels=True), prepared("b", first=2, last=2)
    align(b, aligner="words")
    with pytest.raises(DataError, match=r"/b has no AA, which .*/a has; add --join-phones if"):
        merge([a, b], tmp_path / "ab")
    manifest = merge([a, b], tmp_path / "ab", join_phones=True)
    assert manifest.phone_inventory == ("AA", "SIL", "T")
    assert names_of(tmp_path / "ab") == names_of(a) | names_of(b)
    counts = count_phones(Location(tmp_path / "ab"), manifest)
    assert (counts.num_labeled, counts.num_utterances) == (19, 20)
    Words.aligned = 0
    align(tmp_path / "ab", aligner="words")
    assert Words.aligned == 20  # no label of another numbering is kept


def test_labels_follow_their_utterances_into_new_splits(prepared: Preparer, tmp_path: Path) -> None:
    shards = prepared("shards")
    align(shards, aligner="words")
    manifest = split(shards, tmp_path / "split", seed=3, validation_fraction=0.3, target_shard_bytes=SMALL)
    assert verify(tmp_path / "split") == []
    assert names_of(tmp_path / "split") == names_of(shards)
    few = subset(tmp_path / "split", tmp_path / "few", max_hours=0.006)
    assert verify(tmp_path / "few") == []
    chosen = names_of(tmp_path / "few")
    assert chosen == {name: names for name, names in names_of(shards).items() if name in chosen}
    assert manifest.alignment is not None
    assert few.alignment is not None
    assert set(manifest.alignment.unaligned) == {f"{n}-7-0003" for n in (1, 2, 3)}
    assert set(few.alignment.unaligned) == {f"{n}-7-0003" for n in (1, 2, 3)} & set(chosen)
    Words.aligned = 0
    align(tmp_path / "few", aligner="words")
    assert Words.aligned == 0


def test_a_damaged_label_file_is_named(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a", last=2), prepared("b", first=3)
    align(a, aligner="words")
    victim = next((a / "train").glob("*.phones.parquet"))
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(DataError, match=rf"train/{victim.name} is damaged .*run `vgim data align"):
        merge([a, b], tmp_path / "ab")
    assert not (tmp_path / "ab" / "manifest.json").exists()
