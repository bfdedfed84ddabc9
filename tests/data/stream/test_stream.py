"""The stream gives each rank its slice of one order, from any step on, with Ray and without."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vgim.config.schema import DataConfig
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import read_lengths
from vgim.data.stream import stream as stream_module
from vgim.data.stream.order import ReadTask
from vgim.data.stream.readers import CutCrops, Reader, read_in_process, read_in_threads, read_on_ray
from vgim.data.stream.stream import Batch, CropStream, RankSlice
from vgim.errors import ConfigError, DataError
from vgim.storage import Location

LENGTH = 5_120
EPOCHS = 3

StreamMaker = Callable[..., CropStream]
Crop = tuple[str, int]


def blank(cut: CutCrops, tasks: list[ReadTask]) -> Iterator[np.ndarray]:
    """A reader that yields zeros instead of reading, for tests of the order alone."""
    return (np.zeros((len(task), LENGTH), np.int16) for task in tasks)


@pytest.fixture
def make_stream(tiny_shards: Path) -> StreamMaker:
    """`make_stream(rank, world_size, batch_size=...)` over the tiny shards."""
    manifest = read_manifest(tiny_shards)

    def make(
        rank: int = 0,
        world_size: int = 1,
        *,
        batch_size: int = 4,
        accumulate: int = 1,
        limit: int | float = 0,
        seed: int = 7,
        split: str = "train",
        reader: Reader = read_in_process,
        shards: Path = tiny_shards,
        **config: Any,
    ) -> CropStream:
        settings = {"shards": str(shards), "crop_samples": LENGTH, "shuffle_window": 12, **config}
        return CropStream(
            Location(shards),
            manifest,
            DataConfig(**settings),
            split=split,
            rank_slice=RankSlice(rank, world_size, batch_size, accumulate, limit),
            seed=seed,
            reader=reader,
        )

    return make


@lru_cache
def ids_of(shards: str, split: str) -> list[str]:
    return list(read_lengths(Location(shards), split))


def crops_of(stream: CropStream, batches: Iterator[Batch]) -> list[list[Crop]]:
    """The crops of each batch."""
    ids = ids_of(stream._config.shards, stream.split)
    return [[(ids[u], int(s)) for u, s in zip(b.utterance, b.start, strict=True)] for b in batches]


def audio_by_utterance(shards: Path, split: str) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted((shards / split).iterdir()):
        for row in pq.read_table(path, columns=["utterance_id", "audio"]).to_pylist():
            found[row["utterance_id"]] = np.frombuffer(row["audio"], "<i2")
    return found


def test_a_batch_holds_the_audio_of_its_utterances_and_starts(
    make_stream: StreamMaker, tiny_shards: Path
) -> None:
    audio = audio_by_utterance(tiny_shards, "train")
    stream = make_stream()
    batches = list(stream.train_batches(0, 0, epochs=1))
    assert len(batches) == stream.num_steps(0) == 10
    for batch, crops in zip(batches, crops_of(stream, iter(batches)), strict=True):
        assert batch.audio.shape == (4, LENGTH)
        for samples, (utterance, start) in zip(batch.audio, crops, strict=True):
            np.testing.assert_array_equal(samples, audio[utterance][start : start + LENGTH])


def test_batches_carry_mean_and_deviation_of_the_whole_utterances(
    make_stream: StreamMaker, tiny_shards: Path
) -> None:
    audio = audio_by_utterance(tiny_shards, "train")
    stream = make_stream()
    for batch, crops in zip(
        stream.train_batches(0, 0, epochs=1),
        crops_of(stream, stream.train_batches(0, 0, epochs=1)),
        strict=True,
    ):
        whole = [audio[utterance] / 32_768 for utterance, _ in crops]
        np.testing.assert_allclose(batch.mean, [samples.mean() for samples in whole], atol=1e-6)
        np.testing.assert_allclose(batch.std, [samples.std() for samples in whole], rtol=1e-5)


@pytest.mark.parametrize("crop", ["random", "tile"])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_all_ranks_together_read_the_beginning_of_one_order_in_equally_many_steps(
    make_stream: StreamMaker, crop: str, world_size: int
) -> None:
    alone = make_stream(batch_size=1, reader=blank, crop=crop)
    for epoch in range(2):
        order = [c for b in crops_of(alone, alone.train_batches(epoch, 0, epochs=epoch + 1)) for c in b]
        taken, steps = [], set()
        for rank in range(world_size):
            stream = make_stream(rank, world_size, batch_size=3, reader=blank, crop=crop)
            batches = crops_of(stream, stream.train_batches(epoch, 0, epochs=epoch + 1))
            assert {len(batch) for batch in batches} == {3}
            steps.add(len(batches))
            taken += [crop for batch in batches for crop in batch]
        assert steps == {len(order) // (3 * world_size)}
        assert taken == order[: len(taken)]
        assert len(order) - len(taken) < 3 * world_size


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=40)
@given(st.data(), st.sampled_from(["random", "tile"]), st.integers(1, 3), st.integers(1, 2))
def test_from_any_step_on_the_stream_gives_the_tail_of_the_uninterrupted_one(
    make_stream: StreamMaker, data: st.DataObject, crop: str, world_size: int, accumulate: int
) -> None:
    rank = data.draw(st.integers(0, world_size - 1))
    options = {"accumulate": accumulate, "reader": blank, "crop": crop, "seed": data.draw(st.integers(0, 99))}
    stream = make_stream(rank, world_size, **options)
    whole = crops_of(stream, stream.train_batches(0, 0, epochs=EPOCHS))
    steps = [stream.num_steps(epoch) for epoch in range(EPOCHS)]
    assert len(whole) == sum(steps) * accumulate
    epoch = data.draw(st.integers(0, EPOCHS - 1))
    step = data.draw(st.integers(0, steps[epoch]))
    first_batch = (sum(steps[:epoch]) + step) * accumulate
    max_steps = data.draw(st.integers(0, 30))
    again = make_stream(rank, world_size, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "WINDOWS_AT_ONCE", data.draw(st.sampled_from([1, 5, 64])))
        tail = crops_of(again, again.train_batches(epoch, step, epochs=EPOCHS, max_steps=max_steps))
    assert tail == whole[first_batch : first_batch + max_steps * accumulate if max_steps else None]


def test_every_epoch_has_its_own_order_and_crops(make_stream: StreamMaker) -> None:
    stream = make_stream(reader=blank)
    batches = crops_of(stream, stream.train_batches(0, 0, epochs=2))
    first, second = ([c for b in batches[half : half + 10] for c in b] for half in (0, 10))
    assert {u for u, _ in first} == {u for u, _ in second}
    assert [u for u, _ in first] != [u for u, _ in second]
    assert len(set(first) & set(second)) < 10


def test_a_limit_of_batches_holds_for_each_epoch(make_stream: StreamMaker) -> None:
    stream = make_stream(limit=4, accumulate=2, reader=blank)
    assert [stream.num_steps(epoch) for epoch in range(2)] == [2, 2]
    assert len(list(stream.train_batches(0, 0, epochs=3))) == 12


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_validation_covers_the_split_once_over_the_ranks(
    make_stream: StreamMaker, world_size: int, batch_size: int
) -> None:
    seen, sizes = [], []
    for rank in range(world_size):
        stream = make_stream(rank, world_size, split="validation", batch_size=batch_size)
        batches = crops_of(stream, stream.validation_batches())
        assert batches == crops_of(stream, stream.validation_batches())  # the same crops each time
        assert stream.validation_batch_sizes() == [len(batch) for batch in batches]
        seen += [utterance for batch in batches for utterance, _ in batch]
        sizes += [len(batch) for batch in batches]
    assert sorted(seen) == sorted(ids_of(stream._config.shards, stream.split))
    assert len(seen) == 4
    assert max(sizes) <= batch_size


@pytest.mark.parametrize(
    ("limit", "accumulate", "world_size", "steps"),
    [
        (1.0, 1, 1, 10),
        (1, 1, 1, 1),
        (0.3, 1, 1, 3),  # 0.3 · 10 is 3.0000000000000004 or less
        (0.7, 1, 1, 7),
        (0.35, 1, 1, 3),
        (0.001, 1, 1, 1),
        (0.001, 3, 1, 1),  # the batches of one step
        (0.5, 2, 1, 2),
        (0.5, 1, 2, 2),  # of the five batches of each rank
    ],
)
def test_a_share_of_the_epochs_batches_is_rounded_down_to_at_least_one_step(
    make_stream: StreamMaker, limit: float, accumulate: int, world_size: int, steps: int
) -> None:
    stream = make_stream(0, world_size, limit=limit, accumulate=accumulate, reader=blank)
    assert stream.num_steps(0) == steps
    assert len(list(stream.train_batches(0, 0, epochs=2))) == 2 * steps * accumulate


def test_a_limit_below_the_batches_of_a_step_is_refused(make_stream: StreamMaker) -> None:
    with pytest.raises(
        ConfigError, match=r"limit_train_batches=1 is less than train\.accumulate=2.*raise it"
    ):
        make_stream(limit=1, accumulate=2, reader=blank).num_steps(0)


@pytest.mark.parametrize(("limit", "batches"), [(1.0, 2), (0.5, 1), (0.01, 1), (0, 2)])
def test_a_share_of_validation_batches_is_of_each_ranks(
    make_stream: StreamMaker, limit: float, batches: int
) -> None:
    for rank in range(2):
        stream = make_stream(rank, 2, split="validation", batch_size=1, limit=limit, reader=blank)
        assert len(list(stream.validation_batches())) == batches


def test_a_limit_of_validation_batches_holds_for_each_rank(make_stream: StreamMaker) -> None:
    stream = make_stream(1, 2, split="validation", batch_size=1, limit=1)
    assert [len(batch) for batch in crops_of(stream, stream.validation_batches())] == [1]
    assert stream.validation_batch_sizes() == [1]


def test_too_few_crops_for_one_step_are_refused_with_the_keys_to_lower(
    make_stream: StreamMaker,
) -> None:
    with pytest.raises(ConfigError) as e:
        make_stream(0, 3, batch_size=8, accumulate=2).num_steps(0)
    assert str(e.value) == (
        "the train split gives 40 crops an epoch, too few for one step of 3 workers x train.batch_size=8 x "
        "train.accumulate=2; lower one of them or prepare more audio"
    )


def test_a_reader_that_loses_crops_is_an_error(make_stream: StreamMaker) -> None:
    def lossy(cut: CutCrops, tasks: list[ReadTask]) -> Iterator[np.ndarray]:
        return blank(cut, tasks[:-1])

    with pytest.raises(DataError, match=r"gave \d+ crops where 40 were planned"):
        list(make_stream(reader=lossy).train_batches(0, 0, epochs=1))


def test_a_shard_that_goes_missing_ends_the_stream_with_its_name(
    make_stream: StreamMaker, tiny_shards: Path, tmp_path: Path
) -> None:
    stream = make_stream(shards=without_train_shard(tiny_shards, tmp_path))
    with pytest.raises(DataError, match=r"shard .*train/00000.parquet cannot be read"):
        next(stream.train_batches(0, 0, epochs=1))


@pytest.mark.parametrize(
    "windows", ["one window per read", "all windows in one read", "blocks larger than batches"]
)
def test_ray_reads_the_same_batches_as_this_process(
    ray_session: None, make_stream: StreamMaker, monkeypatch: pytest.MonkeyPatch, windows: str
) -> None:
    options: dict[str, Any] = {"crop": "tile", "world_size": 2, "rank": 1, "batch_size": 5}
    if windows == "one window per read":
        monkeypatch.setattr(stream_module, "WINDOWS_AT_ONCE", 1)
    if windows == "blocks larger than batches":
        options |= {
            "shuffle_window": 256,
            "batch_size": 3,
            "augment": {"noise_snr_db": 10, "pitch_semitones": 2},
        }
    here, there = (make_stream(**options, reader=reader) for reader in (read_in_process, read_on_ray))
    if windows == "blocks larger than batches":
        assert len(list(here._train_tasks(0, 0, 1, 0))) == 1
    expected = list(here.train_batches(0, 3, epochs=2))
    found = list(there.train_batches(0, 3, epochs=2))
    assert len(found) == len(expected) > here.num_steps(1)
    for one, other in zip(found, expected, strict=True):
        for column in ("audio", "mean", "std", "utterance", "start"):
            np.testing.assert_array_equal(getattr(one, column), getattr(other, column))


def test_the_split_as_recorded_is_that_of_one_rank_without_augmentation(make_stream: StreamMaker) -> None:
    noisy = make_stream(1, 2, accumulate=2, limit=2, augment={"noise_snr_db": 10, "pitch_semitones": 2})
    before = next(noisy.train_batches(0, 0, epochs=1)).audio
    found = list(noisy.as_recorded().train_batches(0, 0, epochs=1))
    expected = list(make_stream().train_batches(0, 0, epochs=1))
    assert len(found) == len(expected) > 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.audio, other.audio)
        np.testing.assert_array_equal(one.utterance, other.utterance)
    np.testing.assert_array_equal(next(noisy.train_batches(0, 0, epochs=1)).audio, before)


def test_ray_reads_where_workers_hold_all_cpus(ray_session: None, make_stream: StreamMaker) -> None:
    """Two runs that share a cluster may fill it: each counts on a CPU that the other one takes."""
    import ray
    from ray.util import placement_group, remove_placement_group

    held = placement_group([{"CPU": ray.available_resources()["CPU"]}])
    try:
        assert held.wait(60)
        assert ray.available_resources().get("CPU", 0) == 0
        stream = make_stream(reader=read_on_ray)
        assert len(list(stream.train_batches(0, 0, epochs=1))) == stream.num_steps(0)
    finally:
        remove_placement_group(held)


def test_an_error_in_a_read_task_reaches_the_rank_with_its_own_message(
    ray_session: None, make_stream: StreamMaker, tiny_shards: Path, tmp_path: Path
) -> None:
    stream = make_stream(shards=without_train_shard(tiny_shards, tmp_path), reader=read_on_ray)
    with pytest.raises(DataError, match=r"^shard .*train/00000.parquet cannot be read .*--verify`$") as e:
        list(stream.train_batches(0, 0, epochs=1))
    assert "\n" not in str(e.value)


def without_train_shard(shards: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "lacking"
    shutil.copytree(shards, folder)
    (folder / "train" / "00000.parquet").unlink()
    return folder


def test_threads_read_the_same_batches_and_end_with_their_reader(make_stream: StreamMaker) -> None:
    here, there = (make_stream(reader=reader) for reader in (read_in_process, read_in_threads))
    expected, found = (list(s.train_batches(0, 0, epochs=2)) for s in (here, there))
    assert len(found) == len(expected) > 4
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.audio, other.audio)
        np.testing.assert_array_equal(one.utterance, other.utterance)
    batches = there.train_batches(0, 0, epochs=2)
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("read_")]
