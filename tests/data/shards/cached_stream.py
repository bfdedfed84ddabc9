"""A stream of crops from remote storage through a cache of shards, and what a test asks of the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vgim.config.schema import DataConfig
from vgim.data.pcm import Pcm16
from vgim.data.shards import cache as cache_module
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream.readers import read_in_process
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.storage import Location

SHARDS = "faulty://store/shards"
"""Where the fixture `faults` has the shards."""


def stream_of(folder: Path | None, *, crop: str = "random", gib: float = 100.0) -> CropStream:
    cache = {} if folder is None else {"cache_dir": str(folder), "cache_gib": gib}
    config = DataConfig.model_validate(
        {"shards": SHARDS, "crop": crop, "crop_samples": 5120, "shuffle_window": 12, **cache}
    )
    shards = Location(SHARDS)
    return CropStream(
        shards,
        read_manifest(shards),
        config,
        split="train",
        rank_slice=RankSlice(0, 1, 4),
        seed=0,
        reader=read_in_process,
    )


def crops(stream: CropStream, epoch: int = 0) -> Pcm16:
    return np.concatenate([batch.audio for batch in stream.train_batches(epoch, 0, epochs=epoch + 1)])


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.parquet"))


def shard_of_train() -> str:
    (shard,) = read_manifest(SHARDS).split("train").shards
    return f"{SHARDS}/{shard.path}"


def forget() -> None:
    """As a new process begins: it knows of no cache."""
    cache_module._caches.clear()
    cache_module._cache_of.clear()
