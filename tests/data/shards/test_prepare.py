"""Preparing is idempotent and resumable, writes whole folders only, and lists what it left out."""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.recorded import Recorded, RecordedStage
from vgim.claims.ticket import ClaimHeldError
from vgim.data.corpora.corpus import Corpus
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards import prepare as prepare_module
from vgim.data.shards import write_all
from vgim.data.shards.check import verify
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import UNCHANGED, prepare
from vgim.errors import ConfigError, DataError, StorageError
from vgim.storage import Location

SMALL = 300_000  # bytes per shard: about six of the fixture's utterances


def shards_of(out: Path) -> dict[str, pq.ParquetFile]:
    return {str(path.relative_to(out)): pq.ParquetFile(path) for path in sorted(out.glob("*/*.parquet"))}


def test_the_shards_hold_the_corpus(make_corpus, tmp_path: Path) -> None:
    root, out = make_corpus(labels=True), tmp_path / "out"
    manifest = prepare(find_librispeech(root), out, target_shard_bytes=SMALL)
    assert sorted(path.name for path in out.iterdir()) == [
        "index.parquet",
        "manifest.json",
        "manifest.sha256",
        "test",
        "train",
        "validation",
    ]
    assert read_manifest(str(out)) == manifest
    assert {name: split.utterances for name, split in manifest.splits.items()} == {
        "train": 24,
        "validation": 3,
        "test": 3,
    }
    assert manifest.speakers == ("1", "2", "3")
    assert manifest.phone_inventory == ("SIL", "AA", "T")

    index = pq.read_table(out / "index.parquet").to_pylist()
    assert len(index) == 30
    train_audio = []
    for row in index:
        file = pq.ParquetFile(out / row["split"] / f"{row['shard']:05d}.parquet")
        stored = file.read_row_group(row["row_group"]).slice(row["row"], 1).to_pylist()[0]
        speaker, chapter, _ = row["utterance_id"].split("-")
        original, _ = soundfile.read(
            root / "some-clean" / speaker / chapter / f"{row['utterance_id']}.flac", dtype="int16"
        )
        np.testing.assert_array_equal(np.frombuffer(stored["audio"], "<i2"), original)
        assert {key: stored[key] for key in ("speaker_id", "chapter_id", "split")} == {
            "speaker_id": speaker,
            "chapter_id": chapter,
            "split": row["split"],
        }
        assert stored["sample_rate"] == 16_000
        assert stored["num_samples"] == row["num_samples"] == len(original)
        assert len(stored["phones"]) == len(original) // 160 - 1
        assert stored["audio_mean"] == pytest.approx(float((original / 32768).mean()), abs=1e-7)
        assert row["audio_std"] == pytest.approx(float((original / 32768).std()), rel=1e-5)
        if row["split"] == "train":
            train_audio.append(original / 32768)
    everything = np.concatenate(train_audio)
    assert manifest.corpus_mean == pytest.approx(everything.mean(), abs=1e-9)
    assert manifest.corpus_std == pytest.approx(everything.std(), rel=1e-9)
    order = [
        (["train", "validation", "test"].index(r["split"]), r["shard"], r["row_group"], r["row"])
        for r in index
    ]
    assert order == sorted(order)


def test_audio_is_stored_plain_and_speakers_are_mixed(make_corpus, tmp_path: Path) -> None:
    prepare(find_librispeech(make_corpus()), tmp_path / "out")
    file = pq.ParquetFile(tmp_path / "out" / "train" / "00000.parquet")
    column = file.metadata.row_group(0).column(6)
    assert (column.path_in_schema, column.compression) == ("audio", "UNCOMPRESSED")
    assert not column.has_dictionary_page
    speakers = file.read(columns=["speaker_id"])["speaker_id"].to_pylist()
    assert speakers != sorted(speakers)


def test_flac_keeps_the_bytes_of_the_files(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=3)
    prepare(find_librispeech(root), tmp_path / "out", codec="flac")
    rows = [row for file in shards_of(tmp_path / "out").values() for row in file.read().to_pylist()]
    for row in rows:
        path = root / "some-clean" / "1" / "7" / f"{row['utterance_id']}.flac"
        assert row["audio"] == path.read_bytes()
        assert row["phones"] is None


def test_preparing_again_changes_nothing_and_says_so(make_corpus, tmp_path: Path) -> None:
    root, out = make_corpus(), tmp_path / "out"
    first = prepare(find_librispeech(root), out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    heard = Recorded()
    assert prepare(find_librispeech(root), out, progress=heard) == first
    assert heard.messages == [UNCHANGED]
    assert heard.stages == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_complete_folder_refuses_other_options_and_other_files(make_corpus, tmp_path: Path) -> None:
    root, out = make_corpus(), tmp_path / "out"
    prepare(find_librispeech(root), out)
    with pytest.raises(
        DataError, match="was prepared with codec=pcm16, not with codec=flac; choose another --out"
    ):
        prepare(find_librispeech(root), out, codec="flac")
    (root / "some-clean" / "1" / "7" / "1-7-0000.flac").unlink()
    with pytest.raises(DataError, match=r"was prepared from other files.*choose another --out"):
        prepare(find_librispeech(root), out)
    with pytest.raises(DataError, match=r"holds other files \(1, 2, 3\)"):
        prepare(find_librispeech(root), root / "some-clean")


def test_a_folder_may_hold_other_shard_folders(make_corpus, tmp_path: Path) -> None:
    corpus = find_librispeech(make_corpus())
    inner = prepare(corpus, tmp_path / "shards" / "inner")
    assert prepare(corpus, tmp_path / "shards").fingerprint == inner.fingerprint
    assert prepare(corpus, tmp_path / "shards" / "inner") == inner
    prepare(corpus, tmp_path / "taken" / "train")  # the name of a split, whose folder would be swept
    with pytest.raises(DataError, match=r"holds other files \(train\)"):
        prepare(corpus, tmp_path / "taken")


def test_an_interrupted_preparation_goes_on_after_its_finished_shards(
    make_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = find_librispeech(make_corpus(labels=True)), tmp_path / "killed"
    straight = prepare(corpus, tmp_path / "straight", target_shard_bytes=SMALL)

    write, written = write_all.write_shard, []

    def dies(plan, *args):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(plan.path)
        return write(plan, *args)

    monkeypatch.setattr(write_all, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, out, target_shard_bytes=SMALL)
    monkeypatch.undo()
    with pytest.raises(DataError, match="interrupted; run the same"):
        read_manifest(str(out))
    # a kill in the middle of a write leaves a part of a shard under a temporary name
    (out / "train" / ".00003.parquet.tmp-0123").write_bytes(b"half")

    before = {path: (out / path).stat().st_mtime_ns for path in written}
    heard = Recorded()
    manifest = prepare(corpus, out, target_shard_bytes=SMALL, progress=heard)
    assert {path: (out / path).stat().st_mtime_ns for path in written} == before
    num_shards = sum(len(split.shards) for split in straight.splits.values())
    assert heard.messages == [f"2 of {num_shards} shards were finished earlier"]
    writing = heard.of("writing shards")
    assert (writing.unit, writing.total, writing.done) == (
        "utterance",
        straight.num_utterances,
        writing.total,
    )
    assert writing.dones == list(range(writing.dones[0], writing.total + 1))  # not from 0 again
    assert writing.dones[0] > 1
    assert writing.details[0] == f"2/{num_shards} shards"
    assert writing.details[-1] == f"{num_shards}/{num_shards} shards"
    assert manifest.fingerprint == straight.fingerprint
    assert manifest.model_copy(update={"created": straight.created}) == straight
    assert sorted(p.name for p in out.rglob("*")) == sorted(
        p.name for p in (tmp_path / "straight").rglob("*")
    )
    assert verify(str(out)) == []


@pytest.mark.parametrize("packed", [False, True])
def test_finished_shards_whose_files_have_changed_since_are_written_again(
    make_corpus, tmp_path: Path, packed: bool
) -> None:
    root, out = make_corpus(), tmp_path / "killed"
    archive = tmp_path / "corpus.tar"

    def corpus() -> Corpus:
        if packed:
            with tarfile.open(archive, "w") as tar:
                tar.add(root, "corpus")
        return find_librispeech(archive if packed else root)

    def interrupt(stage: RecordedStage) -> None:
        if stage.title == "writing shards" and stage.done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(corpus(), out, target_shard_bytes=SMALL, progress=Recorded(interrupt))
    num_finished = len([*out.glob("*/*.parquet")])
    assert num_finished > 1
    first = pq.ParquetFile(out / "train" / "00000.parquet").read(["utterance_id"])["utterance_id"][0].as_py()
    (changed,) = root.rglob(f"{first}.flac")
    data = changed.read_bytes()
    changed.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # as long as before
    heard = Recorded()
    manifest = prepare(corpus(), out, target_shard_bytes=SMALL, progress=heard)
    assert heard.messages[0] == "files of 1 finished shard have changed since; they are written again"
    assert heard.messages[1].startswith(f"{num_finished - 1} of ")
    fresh = prepare(corpus(), tmp_path / "fresh", target_shard_bytes=SMALL)
    assert manifest.model_copy(update={"created": fresh.created}) == fresh


@pytest.mark.parametrize(
    "missing", [["manifest.sha256"], ["manifest.sha256", "manifest.json"], ["all three"]]
)
def test_killed_between_index_and_marker_the_same_command_finishes(
    make_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    corpus, out = find_librispeech(make_corpus()), tmp_path / "killed"
    straight = prepare(corpus, tmp_path / "straight")
    monkeypatch.setattr(Location, "write_bytes_atomic", dies_at(missing[-1]))
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, out)
    monkeypatch.undo()
    (out / ".manifest.json.tmp-0123").write_bytes(b"half")
    (out / ".prepare" / ".train-00001.json.tmp-0123").write_bytes(b"half")
    with pytest.raises(DataError, match="interrupted; run the same"):
        read_manifest(str(out))
    manifest = prepare(corpus, out)
    assert manifest.model_copy(update={"created": straight.created}) == straight
    assert read_manifest(str(out)) == manifest
    assert sorted(path.name for path in out.iterdir()) == sorted(
        path.name for path in (tmp_path / "straight").iterdir()
    )


def dies_at(missing: str) -> Callable[[Location, bytes], None]:
    """A `write_bytes_atomic` that dies before the file of this name, or before index.parquet, is written."""
    write = Location.write_bytes_atomic
    name = "index.parquet" if missing == "all three" else missing

    def write_or_die(self: Location, data: bytes) -> None:
        if self.name == name:
            raise KeyboardInterrupt
        write(self, data)

    return write_or_die


def test_an_interrupted_folder_can_be_prepared_with_other_options(
    make_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = find_librispeech(make_corpus()), tmp_path / "out"

    def dies(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("vgim.data.shards.prepare.write_manifest", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare(corpus, out, target_shard_bytes=SMALL)
    monkeypatch.undo()
    manifest = prepare(corpus, out, codec="flac")
    assert manifest.fingerprint == prepare(corpus, tmp_path / "other", codec="flac").fingerprint
    assert len(shards_of(out)) == 3


def test_published_lists_decide_the_splits(make_corpus, tmp_path: Path) -> None:
    root = make_corpus(speakers=1, utterances=10)
    (tmp_path / "train").write_text("".join(f"1-7-{n:04d}\n" for n in range(6)))
    (tmp_path / "test").write_text("1-7-0007\n1-7-9999\n")
    lists = {"train_list": str(tmp_path / "train"), "test_list": str(tmp_path / "test")}
    manifest = prepare(find_librispeech(root), tmp_path / "out", **lists)
    assert [split.utterances for split in manifest.splits.values()] == [5, 1, 1]
    assert manifest.left_out == 3
    assert manifest.warnings == ("not in the corpus, but in the test list: 1 utterance: 1-7-9999",)
    (tmp_path / "test").write_text("1-7-0008\n")
    with pytest.raises(
        DataError, match=r"was prepared with test_list=\(list .{8}\), not with test_list=\(list"
    ):
        prepare(find_librispeech(root), tmp_path / "out", **lists)


def test_options_out_of_bounds_are_refused(make_corpus, tmp_path: Path) -> None:
    corpus = find_librispeech(make_corpus(speakers=1, utterances=3))
    for options in ({"workers": -1}, {"min_samples": -1}, {"target_shard_bytes": 0}, {"test_fraction": 1.0}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}="):
            prepare(corpus, tmp_path / "out", **options)


def test_a_folder_that_cannot_be_written_is_a_storage_error(make_corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    corpus = find_librispeech(make_corpus(speakers=1, utterances=3))
    with pytest.raises(StorageError, match=r"cannot write .*file/out"):
        prepare(corpus, tmp_path / "file" / "out")
    with pytest.raises(DataError, match="is a file; choose a folder"):
        prepare(corpus, tmp_path / "file")


def test_a_full_disk_is_a_storage_error_and_the_preparation_can_go_on(
    make_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = find_librispeech(make_corpus())

    def full(self: object, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("vgim.data.shards.write.HashingSink.write", full)
    with pytest.raises(StorageError, match=r"cannot write .*train/00000\.parquet: no space left"):
        prepare(corpus, tmp_path / "out")
    monkeypatch.undo()
    assert prepare(corpus, tmp_path / "out").num_utterances == 30


def test_shards_may_lie_on_any_storage(make_corpus, tmp_path: Path) -> None:
    corpus = find_librispeech(make_corpus(speakers=2, utterances=4))
    out = Location(f"mock://prepare/{tmp_path.name}")
    manifest = prepare(corpus, out)
    assert verify(out) == []
    assert manifest.fingerprint == prepare(corpus, tmp_path / "local").fingerprint
    assert prepare(corpus, out) == manifest


@pytest.mark.ray
def test_preparing_in_parallel_gives_the_same_shards(make_corpus, tmp_path: Path, ray_session: None) -> None:
    corpus = find_librispeech(make_corpus(labels=True))
    one = prepare(corpus, tmp_path / "one", target_shard_bytes=SMALL, workers=0)
    many = prepare(corpus, tmp_path / "many", target_shard_bytes=SMALL, workers=2)
    assert many.model_copy(update={"created": one.created}) == one
    assert (tmp_path / "many" / "index.parquet").read_bytes() == (
        tmp_path / "one" / "index.parquet"
    ).read_bytes()


@pytest.mark.realdata
def test_real_speech_is_prepared_with_its_phones(realdata_dir: Path, tmp_path: Path) -> None:
    manifest = prepare(find_librispeech(realdata_dir), tmp_path / "out", workers=0)
    assert manifest.corpus == "librispeech"
    assert manifest.num_utterances > 0
    assert manifest.phone_inventory is not None
    assert manifest.corpus_std == pytest.approx(0.06, abs=0.02)
    row = pq.ParquetFile(tmp_path / "out" / "test" / "00000.parquet").read_row_group(0).to_pylist()[0]
    assert 0 <= row["num_samples"] // 160 - len(row["phones"]) <= 3


def test_two_preparations_of_one_folder_do_not_meet(
    make_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = find_librispeech(make_corpus(speakers=1, utterances=6)), tmp_path / "out"
    refused: list[str] = []

    def prepare_again(stage: RecordedStage) -> None:  # while the first writes
        with pytest.raises(ClaimHeldError) as e:
            prepare(corpus, out)
        refused.append(str(e.value))

    manifest = prepare(corpus, out, target_shard_bytes=SMALL, progress=Recorded(prepare_again))
    assert set(refused) == {
        f"process {os.getpid()} is preparing the shards {out}; wait for it, stop it, or choose another --out"
    }
    assert verify(out) == []
    assert read_manifest(out) == manifest


def test_a_folder_that_another_process_has_prepared_meanwhile_is_left_alone(
    make_corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, out = find_librispeech(make_corpus(speakers=1, utterances=6)), tmp_path / "out"
    check_out, told = prepare_module.check_out, Recorded()

    def let_another_prepare(folder: Location) -> None:
        monkeypatch.setattr(prepare_module, "check_out", check_out)
        prepare(corpus, out)

    monkeypatch.setattr(prepare_module, "check_out", let_another_prepare)
    prepare(corpus, out, progress=told)
    assert told.messages == [UNCHANGED]
