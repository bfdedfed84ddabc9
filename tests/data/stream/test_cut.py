"""Crops from shards are the samples of the corpus in both codecs. A damaged shard is an error of one line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.damage import DAMAGES
from tests.data.shard_damage import as_before_hashes, change_index
from vgim.config.schema import DataConfig
from vgim.data.corpora.librispeech import find_librispeech
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.prepare import prepare
from vgim.data.shards.read import read_lengths
from vgim.data.stream.cut import cut_crops
from vgim.data.stream.order import SplitIndex, epoch_order, read_tasks
from vgim.errors import DataError
from vgim.storage import Location

LENGTH = 4_000
SMALL = 200_000  # bytes a shard, so that there are several

Shards = dict[str, Path]


@pytest.fixture
def corpus(make_corpus: Callable[..., Path]) -> Path:
    return make_corpus(speakers=2, utterances=8)


@pytest.fixture
def shards(corpus: Path, tmp_path: Path) -> Shards:
    """The corpus in both codecs."""
    out = {codec: tmp_path / codec for codec in ("pcm16", "flac")}
    for codec, folder in out.items():
        prepare(find_librispeech(corpus), folder, codec=codec, target_shard_bytes=SMALL, workers=0)
    return out


def cut_epoch(
    folder: Path, codec: str, *, crop: str = "random", length: int = LENGTH
) -> dict[str, np.ndarray]:
    """Crops of one epoch of the train split, by `utterance@start`."""
    config = DataConfig(**{"shards": "none", "crop": crop, "crop_samples": length, "shuffle_window": 5})
    index = SplitIndex.read(Location(folder), read_manifest(folder), "train", config)
    order = epoch_order(index, config, seed=1, epoch=0)
    ids = list(read_lengths(Location(folder), "train"))
    assert len(ids) == len(index)
    found = {}
    for task in read_tasks(index, order, 0, order.num_crops):
        crops = cut_crops(str(folder), "train", codec, length, task)
        assert crops.dtype == np.int16
        assert crops.shape == (len(task), length)
        for crop_samples, utterance, start in zip(crops, task.utterance, task.start, strict=True):
            found[f"{ids[utterance]}@{start}"] = crop_samples
    return found


def original(corpus: Path, key: str, length: int = LENGTH) -> np.ndarray:
    """The same samples as soundfile reads them from the corpus, zero-padded."""
    utterance, _, start = key.partition("@")
    speaker, chapter, _ = utterance.split("-")
    path = corpus / "some-clean" / speaker / chapter / f"{utterance}.flac"
    samples, _ = soundfile.read(path, start=int(start), frames=length, dtype="int16")
    return np.pad(samples, (0, length - len(samples)))


@pytest.mark.parametrize("crop", ["random", "tile"])
def test_crops_are_the_corpus_samples_in_both_codecs(corpus: Path, shards: Shards, crop: str) -> None:
    assert len(list((shards["pcm16"] / "train").iterdir())) > 1
    plain = cut_epoch(shards["pcm16"], "pcm16", crop=crop)
    assert len(plain) >= 12
    for key, samples in plain.items():
        np.testing.assert_array_equal(samples, original(corpus, key), err_msg=key)
    packed = cut_epoch(shards["flac"], "flac", crop=crop)
    assert packed.keys() == plain.keys()
    for key, samples in packed.items():
        np.testing.assert_array_equal(samples, plain[key], err_msg=key)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_an_utterance_shorter_than_the_crop_is_padded_with_zeros(
    corpus: Path, shards: Shards, codec: str
) -> None:
    length = 40_000
    found = cut_epoch(shards[codec], codec, crop="first", length=length)
    assert len(found) >= 12
    for key, samples in found.items():
        assert not samples[-length // 4 :].any()
        np.testing.assert_array_equal(samples, original(corpus, key, length), err_msg=key)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_a_missing_shard_is_an_error_of_one_line(shards: Shards, codec: str) -> None:
    shard = min((shards[codec] / "train").iterdir())
    shard.unlink()
    with pytest.raises(DataError, match=r"shard .*/train/00000.parquet cannot be read .*--verify") as e:
        cut_epoch(shards[codec], codec)
    assert "\n" not in str(e.value)


def test_a_truncated_shard_is_an_error_of_one_line(shards: Shards) -> None:
    shard = min((shards["pcm16"] / "train").iterdir())
    shard.write_bytes(shard.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"shard .*/train/00000.parquet cannot be read .*--verify") as e:
        cut_epoch(shards["pcm16"], "pcm16")
    assert "\n" not in str(e.value)


def test_a_shard_damaged_inside_is_an_error_of_one_line(shards: Shards) -> None:
    shard = min((shards["pcm16"] / "train").iterdir())
    column = pq.ParquetFile(shard).metadata.row_group(0)
    audio = next(c for c in map(column.column, range(column.num_columns)) if c.path_in_schema == "audio")
    data = bytearray(shard.read_bytes())
    data[audio.data_page_offset : audio.data_page_offset + 16] = b"\xff" * 16
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"row group 0 of shard .*/train/00000.parquet .*--verify") as e:
        cut_epoch(shards["pcm16"], "pcm16")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
@pytest.mark.parametrize("damage", ["truncate", "zero", "empty", "foreign", "delete", "folder_in_its_place"])
def test_a_shard_that_is_damaged_while_it_is_read_is_an_error_of_one_line(
    shards: Shards, codec: str, damage: str
) -> None:
    """Its footer is known by then. A shortened file that was mapped into memory would kill the process."""
    cut_epoch(shards[codec], codec)
    shard = min((shards[codec] / "train").iterdir())
    DAMAGES[damage](shard)
    with pytest.raises(DataError, match=r"shard .*/train/00000.parquet cannot be read .*--verify") as e:
        cut_epoch(shards[codec], codec)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
@pytest.mark.parametrize(("column", "found_at_least"), [("audio", 12), ("utterance_id", 6)])
def test_a_flipped_bit_is_never_trained_on(
    shards: Shards, codec: str, column: str, found_at_least: int
) -> None:
    before = cut_epoch(shards[codec], codec)
    shard = min((shards[codec] / "train").iterdir())
    whole = shard.read_bytes()
    start, size = place_of(shard, column)
    num_found = 0
    for at in np.linspace(start, start + size - 1, 12).astype(int):
        data = bytearray(whole)
        data[at] ^= 4
        shard.write_bytes(data)
        try:
            crops = cut_epoch(shards[codec], codec)
        except DataError as error:
            num_found += "/train/00000.parquet" in str(error)
        else:  # a bit that says nothing, such as one of a header's statistics
            assert all(np.array_equal(crops[key], samples) for key, samples in before.items())
    assert num_found >= found_at_least


def place_of(shard: Path, column: str) -> tuple[int, int]:
    """First byte and number of bytes of a column in the first row group."""
    group = pq.ParquetFile(shard).metadata.row_group(0)
    chunk = next(c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column)
    return chunk.data_page_offset, chunk.total_compressed_size


def test_another_shard_in_a_shards_place_is_an_error(shards: Shards) -> None:
    first, second = sorted((shards["pcm16"] / "train").iterdir())[:2]
    cut_epoch(shards["pcm16"], "pcm16")
    kept = first.read_bytes()
    second.replace(first)
    second.write_bytes(kept)
    with pytest.raises(
        DataError, match=r"shard .*00000.parquet holds other utterances than index.parquet says"
    ):
        cut_epoch(shards["pcm16"], "pcm16")


@pytest.mark.parametrize("codec", ["pcm16", "flac"])
def test_an_index_with_other_lengths_of_the_same_sum_is_an_error(shards: Shards, codec: str) -> None:
    as_before_hashes(shards[codec])

    def exchange(table: pa.Table) -> pa.Table:
        first, second, *others = table["num_samples"].to_pylist()
        at = table.column_names.index("num_samples")
        return table.set_column(at, "num_samples", pa.array([second, first, *others]))

    change_index(shards[codec], exchange)
    with pytest.raises(DataError, match=r"00000.parquet holds other utterances than index.parquet says"):
        cut_epoch(shards[codec], codec)


def test_flac_that_does_not_decode_is_an_error_of_one_line(shards: Shards, tmp_path: Path) -> None:
    folder = tmp_path / "garbled"
    shutil.copytree(shards["pcm16"], folder)  # PCM16 read as FLAC: bytes that are no FLAC
    with pytest.raises(DataError, match=r"shard .*garbled.* holds FLAC that does not decode") as e:
        cut_epoch(folder, "flac")
    assert "\n" not in str(e.value)
