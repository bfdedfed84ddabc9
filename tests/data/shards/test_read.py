"""Whole utterances are read from shards as they were prepared, with their labels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from tests.damage import DAMAGES
from tests.faulty_storage import faulty_storage
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards import read
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import read_lengths, read_utterances
from vgim.errors import DataError
from vgim.storage import Location

CorpusMaker = Callable[..., Path]


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_utterances_have_the_audio_labels_and_names_of_the_corpus(
    make_corpus: CorpusMaker, tmp_path: Path, codec: str
) -> None:
    corpus = make_corpus(labels=True)
    shards = Location(tmp_path / "shards")
    manifest = prepare(find_librispeech(corpus), shards, codec=codec, workers=0)  # type: ignore[arg-type]
    labels = {
        line.split()[0]: [int(c) for c in line.split()[1:]]
        for line in (corpus / "phones.txt").read_text().splitlines()
    }
    found = list(read_utterances(shards, manifest, "train"))
    assert len(found) == manifest.split("train").utterances
    for utterance in found:
        speaker, chapter, _ = utterance.utterance_id.split("-")
        file = corpus / "some-clean" / speaker / chapter / f"{utterance.utterance_id}.flac"
        assert np.array_equal(utterance.audio, soundfile.read(file, dtype="int16")[0])
        assert utterance.speaker_id == speaker
        assert utterance.transcript.startswith(f"WORDS OF {speaker} ")
        assert utterance.phones is not None
        assert utterance.phones.tolist() == labels[utterance.utterance_id]
    assert read_lengths(shards, "train") == {u.utterance_id: len(u.audio) for u in found}


def test_a_limit_reads_the_first_utterances(tiny_shards: Path) -> None:
    shards, manifest = Location(tiny_shards), read_manifest(tiny_shards)
    everything = [u.utterance_id for u in read_utterances(shards, manifest, "train")]
    assert [u.utterance_id for u in read_utterances(shards, manifest, "train", 8)] == everything[:8]
    assert list(read_lengths(shards, "train")) == everything


def test_an_empty_split_is_an_error(make_corpus: CorpusMaker, tmp_path: Path) -> None:
    shards = Location(tmp_path / "shards")
    manifest = prepare(find_librispeech(make_corpus()), shards, test_fraction=0.0, workers=0)
    with pytest.raises(DataError, match=r"has no test split; prepare it again with a fraction above 0"):
        next(read_utterances(shards, manifest, "test"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_an_error(tiny_shards: Path, tmp_path: Path, damage: str) -> None:
    folder = Location(shutil.copytree(tiny_shards, tmp_path / "shards"))
    manifest = read_manifest(folder)
    DAMAGES[damage](folder.local_path / "test" / "00000.parquet")
    with pytest.raises(
        DataError, match=r"cannot be read .*check the folder with `vgim data info --verify`"
    ) as e:
        list(read_utterances(folder, manifest, "test"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_utterances_of_another_shard_are_an_error(
    make_corpus: CorpusMaker, tmp_path: Path, codec: str
) -> None:
    corpus, shards = find_librispeech(make_corpus()), tmp_path / "shards"
    manifest = prepare(corpus, shards, codec=codec, target_shard_bytes=300_000, workers=0)  # type: ignore[arg-type]
    (shards / "train" / "00001.parquet").replace(shards / "train" / "00000.parquet")
    with pytest.raises(
        DataError, match=r"train/00000.parquet holds other utterances than index.parquet says"
    ):
        list(read_utterances(Location(shards), manifest, "train"))


def test_threads_that_read_one_remote_shard_at_once_each_have_a_reader_of_their_own(
    tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(tiny_shards, tmp_path / "remote" / "of-threads" / "shards")
    opened = []
    open_anew = read.open_anew
    monkeypatch.setattr(read, "open_anew", lambda *a, **options: opened.append(1) or open_anew(*a, **options))
    with faulty_storage(tmp_path / "remote"):
        shard = read_manifest(tiny_shards).split("train").shards[0]
        path = Location("faulty://of-threads/shards").child(shard.path).uri
        columns = ("utterance_id", "audio")
        numbers = range(read.shard_footer(path).num_row_groups)
        expected = [read.read_row_group(path, number, columns) for number in numbers]
        one_thread = len(opened)
        both = Barrier(2)
        read_opened_row_group = read.read_opened_row_group

        def together(*arguments: Any) -> pa.Table:
            both.wait(timeout=60)
            return read_opened_row_group(*arguments)

        monkeypatch.setattr(read, "read_opened_row_group", together)
        for number in (*numbers, *numbers):
            with ThreadPoolExecutor(2) as pool:
                found = pool.map(lambda n: read.read_row_group(path, n, columns), (number, numbers[-1]))
                assert list(found) == [expected[number], expected[-1]]
    assert len(opened) == one_thread + 1  # the second reader, which is kept
