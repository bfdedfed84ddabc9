"""Joined shards are those of their folders: linked, in one order, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.data.reshard.conftest import Preparer, same_shards, utterances_of
from tests.data.shard_damage import as_before_hashes
from tests.faulty_storage import Faults, faulty_storage
from tests.recorded import Recorded
from vgim.claims.claim import take_claim
from vgim.claims.ticket import ClaimHeldError
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.reshard import merge as merge_module
from vgim.data.reshard.job import MAKING, UNCHANGED
from vgim.data.reshard.merge import merge
from vgim.data.shards.check import verify
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.errors import ConfigError, DataError, StorageError
from vgim.storage import Location, give_second_place


def test_the_joined_shards_are_the_files_of_both_folders(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a"), prepared("b", first=4, last=5)
    heard = Recorded()
    manifest = merge([str(a), str(b)], tmp_path / "ab", progress=heard)
    assert manifest == read_manifest(tmp_path / "ab")
    assert verify(tmp_path / "ab") == []
    assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == sorted(p.name for p in a.iterdir())
    [message] = heard.messages
    assert message.endswith("shards linked")
    inodes = {path.stat().st_ino for folder in (a, b) for path in folder.glob("*/*.parquet")}
    assert {path.stat().st_ino for path in (tmp_path / "ab").glob("*/*.parquet")} == inodes

    parts = [read_manifest(folder) for folder in (a, b)]
    for split, summary in manifest.splits.items():
        assert summary.utterances == sum(part.splits[split].utterances for part in parts)
        assert summary.hours == pytest.approx(sum(part.splits[split].hours for part in parts), abs=2e-6)
        assert utterances_of(tmp_path / "ab", split).keys() == {
            *utterances_of(a, split),
            *utterances_of(b, split),
        }
    assert manifest.speakers == ("1", "2", "3", "4", "5")
    train = np.concatenate([item.audio for item in utterances_of(tmp_path / "ab", "train").values()]) / 32768
    assert manifest.corpus_mean == pytest.approx(train.mean(), abs=1e-12)
    assert manifest.corpus_std == pytest.approx(train.std(), rel=1e-12)
    assert manifest.options["codec"] == "pcm16"
    assert manifest.origin is not None
    assert [source.shards for source in manifest.origin.sources] == [str(a), str(b)]


def test_neither_the_order_of_the_folders_nor_the_steps_change_a_byte(
    prepared: Preparer, tmp_path: Path
) -> None:
    a, b, c = prepared("a", last=2), prepared("b", first=3, last=4), prepared("c", first=5, last=5, seed=7)
    at_once = merge([a, b, c], tmp_path / "abc")
    merge([b, a], tmp_path / "ba")
    in_steps = merge([c, tmp_path / "ba"], tmp_path / "cba")
    assert same_shards(at_once, in_steps)
    interleaved = [path.parent.parent.name for path in _sources(tmp_path / "abc", (a, b, c))]
    assert interleaved != sorted(interleaved)  # the first shards are not all of one folder


def _sources(joined: Path, folders: tuple[Path, ...]) -> list[Path]:
    """The linked shard of each train shard, in order."""
    by_inode = {path.stat().st_ino: path for folder in folders for path in folder.glob("train/*.parquet")}
    return [by_inode[path.stat().st_ino] for path in sorted(joined.glob("train/*.parquet"))]


def test_the_same_call_again_does_nothing_and_another_is_refused(prepared: Preparer, tmp_path: Path) -> None:
    a, b, c = prepared("a", last=1), prepared("b", first=2, last=2), prepared("c", first=3, last=3)
    first = merge([a, b], tmp_path / "ab")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "ab").rglob("*")}
    heard = Recorded()
    assert merge([b, a], tmp_path / "ab", progress=heard) == first
    assert heard.messages == [UNCHANGED]
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "ab").rglob("*")} == before
    with pytest.raises(DataError, match=r"holds other shards already, which `vgim data merge` made"):
        merge([a, c], tmp_path / "ab")
    with pytest.raises(DataError, match=r"holds other shards already, which `vgim data prepare` made"):
        merge([a, b], a)
    with pytest.raises(DataError, match=r"holds shards that `vgim data merge` made; choose another --out"):
        prepare(find_librispeech(tmp_path / "corpus-a"), tmp_path / "ab")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"holds other files \(notes.txt\)"):
        merge([a, b], tmp_path / "taken")


def test_an_interrupted_call_goes_on_and_leaves_no_manifest_before(
    prepared: Preparer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = prepared("a", last=2), prepared("b", first=3, last=4), prepared("c", first=5, last=5)
    straight, out, copied = merge([a, b], tmp_path / "straight"), tmp_path / "out", []

    def dies(source: Location, target: Location) -> object:
        if len(copied) == 3:
            raise KeyboardInterrupt
        copied.append(target)
        return give_second_place(source, target)

    monkeypatch.setattr("vgim.data.reshard.job.THREADS", 1)
    monkeypatch.setattr(merge_module, "give_second_place", dies)
    with pytest.raises(KeyboardInterrupt):
        merge([a, b], out)
    with pytest.raises(DataError, match=r"was interrupted; run the same `vgim data merge` again"):
        read_manifest(out)
    monkeypatch.setattr(merge_module, "give_second_place", give_second_place)
    shutil.copytree(out, tmp_path / "other")
    heard = Recorded()
    assert same_shards(merge([a, b], out, progress=heard), straight)
    assert heard.messages[0] == f"3 of {len(copied) + len(_missing(straight, 3))} shards were there"
    # Another call does not trust what the first one left.
    assert same_shards(merge([b, c], tmp_path / "other"), merge([b, c], tmp_path / "bc"))
    assert verify(tmp_path / "other") == []


def _missing(manifest: object, num_there: int) -> list[object]:
    shards = [shard for split in manifest.splits.values() for shard in split.shards]  # type: ignore[attr-defined]
    return shards[num_there:]


def test_two_calls_do_not_make_one_folder_at_once(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a", last=1), prepared("b", first=2, last=2)
    with take_claim(Location(tmp_path / "ab"), MAKING), pytest.raises(ClaimHeldError, match="choose another"):
        merge([a, b], tmp_path / "ab")


def test_folders_that_do_not_fit_together_are_refused(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a", last=2), prepared("b", first=2, last=3, validation_fraction=0.2)
    with pytest.raises(ConfigError, match="nothing to join it with"):
        merge([a], tmp_path / "out")
    with pytest.raises(ConfigError, match="is given twice"):
        merge([a, b, a], tmp_path / "out")
    with pytest.raises(DataError, match=r"^10 utterance ids in .*/a and in .*/b, such as 2-7-0000; if"):
        merge([a, b], tmp_path / "out")
    with pytest.raises(DataError, match=r"holds pcm16 and .*/flac flac"):
        merge([a, prepared("flac", first=3, codec="flac")], tmp_path / "out")
    with pytest.raises(DataError, match="there is no shard folder"):
        merge([a, tmp_path / "absent"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_speakers_in_several_folders_are_one_person_only_if_the_user_says_so(
    prepared: Preparer, make_corpus, tmp_path: Path
) -> None:
    a, root = prepared("a", last=2), make_corpus("more", speakers=1)
    chapter = root / "some-clean" / "1" / "7"
    for path in chapter.glob("*.flac"):
        path.rename(chapter.parent / path.name)
    chapter.rename(chapter.with_name("8"))
    for path in chapter.parent.glob("*.flac"):
        path.rename(chapter.with_name("8") / path.name.replace("1-7", "1-8"))
    prepare(find_librispeech(root), tmp_path / "b")
    with pytest.raises(DataError, match=r"^1 speaker id in .*such as 1; add --same-speakers"):
        merge([a, tmp_path / "b"], tmp_path / "out")
    manifest = merge([a, tmp_path / "b"], tmp_path / "out", same_speakers=True)
    assert (manifest.speakers, manifest.splits["train"].speakers) == (("1", "2"), 2)
    assert manifest.num_utterances == 30


def test_remote_shards_are_copied_and_checked_on_the_way(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a", last=2), prepared("b", first=3, last=4)
    expected = merge([a, b], tmp_path / "local")
    with faulty_storage(tmp_path / "store", Faults(error_rate=0.05, seed=3)) as faults:
        heard = Recorded()
        manifest = merge([str(a), str(b)], "faulty://store/ab", progress=heard)
        assert same_shards(manifest, expected)
        assert heard.messages[-1].endswith("shards copied")
        assert verify("faulty://store/ab") == []
        merge(["faulty://store/ab", prepared("c", first=5, last=5)], tmp_path / "back")
        assert verify(tmp_path / "back") == []
        assert faults.raised
        shard = next(iter((tmp_path / "store/store/ab/train").glob("*.parquet")))
        content = bytearray(shard.read_bytes())
        content[1000] ^= 1
        shard.write_bytes(content)
        with pytest.raises(DataError, match=rf"train/{shard.name} is damaged"):
            merge(["faulty://store/ab", tmp_path / "c"], tmp_path / "damaged")
        faults.permanent["open_output"] = lambda: PermissionError(13, "Permission denied")
        with pytest.raises(StorageError, match="cannot write"):
            merge([a, b], "faulty://store/refused")
    assert not (tmp_path / "damaged" / "manifest.json").exists()


def test_shards_that_stand_as_links_are_joined_as_files(prepared: Preparer, tmp_path: Path) -> None:
    a, b = prepared("a", last=1), prepared("b", first=2, last=2)
    for path in a.glob("*/*.parquet"):
        path.rename(tmp_path / f"{path.parent.name}-{path.name}")
        path.symlink_to(tmp_path / f"{path.parent.name}-{path.name}")
    merge([a, b], tmp_path / "ab")
    assert not any(path.is_symlink() for path in (tmp_path / "ab").rglob("*"))
    assert verify(tmp_path / "ab") == []


def test_what_was_skipped_left_out_and_warned_of_is_kept(
    prepared: Preparer, make_corpus, tmp_path: Path
) -> None:
    a, root = prepared("a", last=1, labels=True), make_corpus("other", speakers=2)
    shutil.rmtree(root / "some-clean" / "1")
    (root / "some-clean" / "2" / "7" / "2-7-0003.flac").write_bytes(b"noise")
    (tmp_path / "train.txt").write_text("2-7-0000\n2-7-0001\n2-7-0002\n2-7-0003\n9-9-0000\n")
    prepare(find_librispeech(root), tmp_path / "b", train_list=str(tmp_path / "train.txt"))
    as_before_hashes(tmp_path / "b")
    manifest = merge([a, tmp_path / "b"], tmp_path / "ab")
    assert [item.path_or_id for item in manifest.skipped] == ["some-clean/2/7/2-7-0003.flac"]
    assert manifest.skipped_by_reason == {"corrupt": 1}
    assert manifest.left_out == 6
    assert any(text.startswith("b: not in the corpus, but in the train list") for text in manifest.warnings)
    assert "3 utterances of b without phone labels" in manifest.warnings
    assert manifest.phone_inventory == ("SIL", "AA", "T")
    assert manifest.options["seed"] == 0
    assert "train_list" not in manifest.options
