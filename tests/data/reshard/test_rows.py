"""Utterances that are put into new splits, or chosen by hours, are the same rows with the same bytes of audio."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.data.reshard.conftest import SMALL, Preparer, same_shards, utterances_of
from tests.recorded import Recorded
from vgim.data.corpora.folder import find_folder
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.reshard import rewrite, rows
from vgim.data.reshard.job import UNCHANGED
from vgim.data.reshard.merge import merge
from vgim.data.reshard.split import split
from vgim.data.reshard.subset import subset
from vgim.data.shards.check import verify
from vgim.data.shards.columns import SHARD_SCHEMA
from vgim.data.shards.index import read_index
from vgim.data.shards.manifest import SPLITS, Manifest, read_manifest
from vgim.data.shards.prepare import prepare
from vgim.errors import ConfigError, DataError
from vgim.storage import Location


def splits_of(shards: Path) -> dict[str, str]:
    index = read_index(Location(shards), read_manifest(shards))
    return dict(zip(index["utterance_id"].to_pylist(), index["split"].to_pylist(), strict=True))


def stored_rows(shards: Path) -> dict[str, dict[str, Any]]:
    """Rows by utterance id, without the split."""
    rows = [row for path in shards.glob("*/[0-9]*[0-9].parquet") for row in pq.read_table(path).to_pylist()]
    return {row["utterance_id"]: {name: row[name] for name in row if name != "split"} for row in rows}


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_new_splits_are_those_of_a_preparation_with_the_same_options(
    prepared: Preparer, tmp_path: Path, codec: str
) -> None:
    shards = prepared("shards", labels=True, codec=codec)
    options = {"validation_fraction": 0.2, "test_fraction": 0.3, "seed": 5}
    expected = prepare(
        find_librispeech(tmp_path / "corpus-shards"),
        tmp_path / "prepared",
        codec=codec,  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )
    manifest = split(shards, tmp_path / "out", **options, target_shard_bytes=SMALL)  # type: ignore[arg-type]
    assert manifest == read_manifest(tmp_path / "out")
    assert verify(tmp_path / "out") == []
    assert splits_of(tmp_path / "out") == splits_of(tmp_path / "prepared")
    assert stored_rows(tmp_path / "out") == stored_rows(shards)
    for name, summary in manifest.splits.items():
        assert summary.hours == expected.splits[name].hours
        assert summary.speakers == expected.splits[name].speakers
        for path in (tmp_path / "out" / name).glob("*.parquet"):
            assert set(pq.read_table(path, columns=["split"])["split"].to_pylist()) == {name}
    tolerance = 0 if codec == "pcm16" else 1e-6  # PCM16 is summed anew, FLAC is not decoded
    assert manifest.corpus_mean == pytest.approx(expected.corpus_mean, abs=tolerance * expected.corpus_std)
    assert manifest.corpus_std == pytest.approx(expected.corpus_std, rel=tolerance)
    assert manifest.phone_inventory == ("SIL", "AA", "T")
    assert (manifest.options["seed"], manifest.options["test_fraction"]) == (5, 0.3)
    assert manifest.origin is not None
    assert manifest.origin.verb == "split"


def test_disjoint_speakers_are_those_of_a_preparation_with_the_same_options(
    prepared: Preparer, tmp_path: Path
) -> None:
    shards = prepared("shards", last=6)
    options = {"validation_fraction": 0.2, "test_fraction": 0.3, "disjoint_speakers": True}
    corpus = find_librispeech(tmp_path / "corpus-shards")
    expected = prepare(corpus, tmp_path / "prepared", **options)  # type: ignore[arg-type]
    manifest = split(shards, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert splits_of(tmp_path / "out") == splits_of(tmp_path / "prepared")
    speakers = [{u.speaker_id for u in utterances_of(tmp_path / "out", name).values()} for name in SPLITS]
    assert [len(of_split) for of_split in speakers] == [3, 1, 2]
    assert len(set().union(*speakers)) == 6
    assert manifest.options["disjoint_speakers"] is expected.options["disjoint_speakers"] is True
    assert prepare(corpus, tmp_path / "prepared", **options) == expected  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match="prepared with disjoint_speakers=True, not with disjoint_speakers=False"
    ):
        prepare(corpus, tmp_path / "prepared", validation_fraction=0.2, test_fraction=0.3)
    with pytest.raises(DataError, match="3 splits; of this corpus 2 speakers"):
        split(prepared("two", last=2), tmp_path / "few", disjoint_speakers=True)


def test_the_first_utterances_of_a_new_split_come_from_all_splits_before(
    prepared: Preparer, tmp_path: Path
) -> None:
    shards = prepared("shards", validation_fraction=0.3, test_fraction=0.3)
    split(shards, tmp_path / "out", validation_fraction=0, test_fraction=0)
    before = splits_of(shards)
    order = [before[name] for name in utterances_of(tmp_path / "out")]
    assert set(order[:6]) == set(SPLITS)
    for name in SPLITS:  # each in its own order, so that every row group is read once
        assert [u for u in utterances_of(tmp_path / "out") if before[u] == name] == list(
            utterances_of(shards, name)
        )


def test_lists_make_splits_and_leave_out_what_they_do_not_name(prepared: Preparer, tmp_path: Path) -> None:
    shards = prepared("shards", last=2)
    (tmp_path / "train.txt").write_text("".join(f"1-7-{number:04d}\n" for number in range(10)))
    (tmp_path / "test.txt").write_text("2-7-0000\n2-7-0001\n2-7-0099\n")
    lists = {"train_list": str(tmp_path / "train.txt"), "test_list": str(tmp_path / "test.txt")}
    manifest = split(shards, tmp_path / "out", validation_fraction=0.2, **lists)
    assert {name: summary.utterances for name, summary in manifest.splits.items()} == {
        "train": 8,
        "validation": 2,
        "test": 2,
    }
    assert utterances_of(tmp_path / "out", "test").keys() == {"2-7-0000", "2-7-0001"}
    assert manifest.left_out == 8
    assert manifest.warnings == ("not in the corpus, but in the test list: 1 utterance: 2-7-0099",)
    (tmp_path / "wrong.txt").write_text("x.flac\n")
    with pytest.raises(DataError, match="none of the 1 utterances in the train list is in the corpus"):
        split(shards, tmp_path / "wrong", train_list=str(tmp_path / "wrong.txt"))
    with pytest.raises(ConfigError, match="not for train"):
        split(shards, tmp_path / "wrong", test_list=lists["test_list"])
    with pytest.raises(ConfigError, match="leave nothing"):
        split(shards, tmp_path / "wrong", validation_fraction=0.5, test_fraction=0.5)


def test_split_apart_and_joined_again_is_the_same_data(prepared: Preparer, tmp_path: Path) -> None:
    shards = prepared("shards", validation_fraction=0, test_fraction=0)
    half = sorted(splits_of(shards))[:15]
    for name, ids in (("one", half), ("other", sorted(set(splits_of(shards)) - set(half)))):
        (tmp_path / f"{name}.txt").write_text("\n".join(ids))
        split(shards, tmp_path / name, train_list=str(tmp_path / f"{name}.txt"), validation_fraction=0)
    joined = merge([tmp_path / "one", tmp_path / "other"], tmp_path / "joined", same_speakers=True)
    whole = read_manifest(shards)
    assert stored_rows(tmp_path / "joined") == stored_rows(shards)
    assert (joined.corpus_mean, joined.corpus_std) == (whole.corpus_mean, whole.corpus_std)
    assert joined.splits["train"].hours == pytest.approx(whole.splits["train"].hours, abs=2e-6)


def test_few_hours_are_a_part_of_more_and_have_every_speaker(prepared: Preparer, tmp_path: Path) -> None:
    shards = prepared("shards", last=5)
    total = sum(summary.hours for summary in read_manifest(shards).splits.values())
    chosen: list[set[str]] = []
    for share in (0.3, 0.5, 0.8):
        out = tmp_path / str(share)
        manifest = subset(shards, out, max_hours=share * total, target_shard_bytes=SMALL)
        assert verify(out) == []
        hours = sum(summary.hours for summary in manifest.splits.values())
        assert share * total - 3 * 2 / 3600 < hours <= share * total
        assert manifest.speakers == ("1", "2", "3", "4", "5")
        assert manifest.beyond_max_hours == 50 - manifest.num_utterances
        assert (manifest.options["max_hours"], manifest.options["max_hours_of"]) == (share * total, None)
        found = splits_of(out)
        assert all(splits_of(shards)[name] == split for name, split in found.items())
        chosen.append(set(found))
        per_speaker = [sum(u.speaker_id == s for u in utterances_of(out, "train").values()) for s in "12345"]
        assert max(per_speaker) - min(per_speaker) <= 1
    assert chosen[0] < chosen[1] < chosen[2]
    again = subset(shards, tmp_path / "again", max_hours=0.3 * total, target_shard_bytes=SMALL)
    assert same_shards(again, read_manifest(tmp_path / "0.3"))
    other = subset(shards, tmp_path / "seed", max_hours=0.3 * total, seed=1)
    assert other.fingerprint != again.fingerprint


def test_one_split_may_be_cut_alone(prepared: Preparer, tmp_path: Path) -> None:
    shards = prepared("shards")
    before = read_manifest(shards)
    hours = before.splits["train"].hours / 2
    manifest = subset(shards, tmp_path / "out", max_hours=hours, only="train")
    assert manifest.splits["train"].hours <= hours
    for name in ("validation", "test"):
        assert utterances_of(tmp_path / "out", name).keys() == utterances_of(shards, name).keys()
    cut = np.concatenate([item.audio for item in utterances_of(tmp_path / "out", "train").values()]) / 32768
    assert manifest.corpus_std == pytest.approx(cut.std(), rel=1e-12)
    for wrong, fault in (
        ({"max_hours": 0.0}, "must be above 0"),
        ({"max_hours": float("nan")}, "must be above 0"),
        ({"max_hours": 9.0}, "but .* has 0.01 hours; give fewer"),
        ({"max_hours": 1e-5}, "less than one utterance"),
        ({"max_hours": 1e-5, "only": "train"}, "less than one utterance"),
        ({"max_hours": 1.0, "only": "dev"}, "is no split"),
        ({"max_hours": 1.0, "seed": -1}, "seed=-1"),
    ):
        with pytest.raises((ConfigError, DataError), match=fault):
            subset(shards, tmp_path / "wrong", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "wrong").exists()


@pytest.mark.parametrize("verb", ["split", "subset"])
def test_an_interrupted_call_goes_on(
    prepared: Preparer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    shards, write = prepared("shards"), rows.write_rows
    calls: dict[str, Callable[[Path], Manifest]] = {
        "split": lambda out: split(shards, out, seed=3, target_shard_bytes=SMALL, progress=heard),
        "subset": lambda out: subset(shards, out, max_hours=0.008, target_shard_bytes=SMALL, progress=heard),
    }
    heard = Recorded()
    straight, written = calls[verb](tmp_path / "straight"), list[str]()

    def dies(plan: rows.RowPlan, *args: Any) -> object:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(plan.path)
        return write(plan, *args)

    monkeypatch.setattr("vgim.data.reshard.job.THREADS", 1)
    monkeypatch.setattr(rows, "write_rows", dies)
    with pytest.raises(KeyboardInterrupt):
        calls[verb](tmp_path / "out")
    with pytest.raises(DataError, match=rf"run the same `vgim data {verb}` again"):
        read_manifest(tmp_path / "out")
    written.clear()
    monkeypatch.setattr(
        rows, "write_rows", lambda plan, *args: (written.append(plan.path), write(plan, *args))[1]
    )
    assert same_shards(calls[verb](tmp_path / "out"), straight)
    num_shards = sum(len(summary.shards) for summary in straight.splits.values())
    assert len(written) == num_shards - 2
    assert heard.messages[-1] == f"2 of {num_shards} shards were finished earlier"
    assert calls[verb](tmp_path / "out").plan == straight.plan
    assert heard.messages[-1] == UNCHANGED
    with pytest.raises(DataError, match=rf"holds other shards already, which `vgim data {verb}` made"):
        split(shards, tmp_path / "out", seed=4)


def test_a_row_that_was_read_keeps_no_other_in_memory(prepared: Preparer) -> None:
    shards = prepared("shards", labels=True)
    (path, *_) = sorted(shards.glob("train/[0-9]*[0-9].parquet"))
    whole = pq.ParquetFile(path).read_row_group(0)
    assert whole.num_rows > 1
    reader = rewrite._Reader(Location(shards), SHARD_SCHEMA.names)
    row = reader.row(f"train/{path.name}", 0, 1)
    assert row.to_pylist() == whole.slice(1, 1).to_pylist()
    assert row.get_total_buffer_size() < 2 * row.nbytes + 1000 < whole.nbytes
    with pytest.raises(DataError, match="other utterances"):
        reader.row(f"train/{path.name}", 0, whole.num_rows)


def test_a_damaged_source_is_named_and_nothing_is_left_whole(prepared: Preparer, tmp_path: Path) -> None:
    shards = prepared("shards")
    victim = sorted((shards / "train").glob("*.parquet"))[1]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    with pytest.raises(DataError, match=rf"train/{victim.name} cannot be read"):
        split(shards, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    shutil.copy(sorted((shards / "train").glob("*.parquet"))[0], victim)
    with pytest.raises(DataError, match=rf"{victim.name} has .* bytes, expected"):
        split(shards, tmp_path / "out2")


def test_segments_with_names_of_their_own_stay_with_their_recording(tmp_path: Path) -> None:
    root, lines = tmp_path / "corpus", ["path,speaker,id,start,duration"]
    for speaker in ("a", "b"):
        (root / speaker).mkdir(parents=True)
        for talk in range(4):
            noise = np.random.default_rng(talk).uniform(-0.1, 0.1, 16_000 * 9)
            soundfile.write(root / speaker / f"{talk}.wav", noise, 16_000)
            lines += [f"{speaker}/{talk}.wav,{speaker},{speaker}{talk}{n},{n * 3},2.9" for n in range(3)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    corpus = find_folder(root, manifest=str(tmp_path / "list.csv"))
    prepare(corpus, tmp_path / "shards", validation_fraction=0, test_fraction=0)
    prepare(corpus, tmp_path / "prepared", validation_fraction=0.25, test_fraction=0.25, seed=2)
    split(tmp_path / "shards", tmp_path / "once", validation_fraction=0.5, test_fraction=0)
    split(tmp_path / "once", tmp_path / "twice", validation_fraction=0.25, test_fraction=0.25, seed=2)
    assert splits_of(tmp_path / "twice") == splits_of(tmp_path / "prepared")
    assert len({name[:2] for name in splits_of(tmp_path / "twice")}) == 8
