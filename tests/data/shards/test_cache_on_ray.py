"""`data.cache_dir` with Ray Data: its tasks share the copies of their node."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np

from vgim.config.schema import DataConfig
from vgim.data.pcm import Pcm16
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream.order import ReadTask
from vgim.data.stream.readers import CutCrops, read_in_process, read_on_ray
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.storage import Location

WORKERS = 2


def streams(shards: Path, reader: Any, **cache: str) -> list[CropStream]:
    """The train and validation streams of two workers."""
    location = Location(shards)
    config = DataConfig(shards=str(shards), crop_samples=5120, shuffle_window=12, **cache)
    return [
        CropStream(
            location,
            read_manifest(location),
            config,
            split=split,
            rank_slice=RankSlice(rank, WORKERS, 4),
            seed=0,
            reader=reader,
        )
        for split in ("train", "validation")
        for rank in range(WORKERS)
    ]


def crops(stream: CropStream) -> Pcm16:
    """Crops of two epochs of training, or of a validation."""
    is_training = stream.split == "train"
    batches = stream.train_batches(0, 0, epochs=2) if is_training else stream.validation_batches()
    return np.concatenate([batch.audio for batch in batches])


def counted(cut: CutCrops, log: Path) -> CutCrops:
    """A task that reads as on a shared mount, and notes each shard that it copies from there."""

    def note(name: str) -> None:
        with log.open("a", encoding="utf-8") as file:
            file.write(name + "\n")

    def cut_and_count(task: ReadTask) -> Pcm16:
        from vgim.data.shards import cache

        if "counted" not in vars(cache):
            vars(cache)["counted"] = opened = cache._opened
            cache.on_same_disk = lambda one, other: False
            cache._opened = lambda shard: (note(shard.name), opened(shard))[1]
        return cut(task)

    return cut_and_count


def test_two_workers_of_a_node_copy_each_shard_once_and_get_the_crops_of_no_cache(
    ray_session: None, tiny_shards: Path, tmp_path: Path
) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's workers cannot import the tests
    log, cache = tmp_path / "log", tmp_path / "cache"
    found: dict[int, Pcm16] = {}
    try:
        made = streams(tiny_shards, read_on_ray, cache_dir=str(cache))
        for stream in made:
            stream._cut = counted(stream._cut, log)
        at_once = [
            threading.Thread(target=lambda n=n, stream=stream: found.update({n: crops(stream)}))
            for n, stream in enumerate(made)
        ]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    expected = [crops(stream) for stream in streams(tiny_shards, read_in_process)]
    for n, audio in enumerate(expected):
        np.testing.assert_array_equal(found[n], audio)
    shards = [
        Path(shard.path).name
        for name in ("train", "validation")
        for shard in read_manifest(tiny_shards).split(name).shards
    ]
    assert sorted(log.read_text().splitlines()) == sorted(shards)
    assert len(list(cache.glob("*.parquet"))) == len(shards)
