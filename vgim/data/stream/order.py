"""The order of an epoch's crops, and the read tasks for any contiguous part of it.

An epoch has one order for all ranks: row groups in random order, gathered into windows of `shuffle_window`
utterances, with the crops shuffled inside each window. Rank r reads the r-th contiguous slice of it. So all ranks take
equally many steps, a row group is read by one rank (by two at a border), and the crops do not depend on the world
size. The order is a function of (seed, epoch): epoch and step are enough to resume.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I64, U64
from vgim.config.schema import DataConfig
from vgim.data.shards.index import of_split, read_index
from vgim.data.shards.manifest import Manifest
from vgim.data.stream.crops import crop_starts, mix, usable, utterance_keys
from vgim.errors import DataError
from vgim.storage import Location

ORDER = 0x6F72646572  # keeps the random numbers of the order apart from those of the crops


@dataclass(frozen=True)
class SplitIndex:
    """The utterances of a split that are long enough for a crop, as columns of length U."""

    utterance_ids: list[str]
    num_samples: I64
    group: I64  # [U] index into `groups`
    row: I64  # [U] row within the row group
    mean: NDArray[np.float32]  # [U] of the audio as float PCM
    std: NDArray[np.float32]  # [U]
    groups: I64  # [G, 2] shard number, number of the row group within the shard
    num_too_short: int

    @classmethod
    def read(cls, shards: Location, manifest: Manifest, split: str, config: DataConfig) -> SplitIndex:
        """Read `index.parquet` of a shard folder.

        Raises:
            DataError: The index is missing or damaged, the split is empty, or no utterance in it is long enough for a
                crop.
        """
        table = of_split(read_index(shards, manifest), split)
        if not table.num_rows:
            raise DataError(f"{shards.uri} has no {split} split; prepare it again with a fraction above 0")
        num_samples = table["num_samples"].to_numpy()
        keep = usable(num_samples, config)
        if not keep.any():
            raise DataError(
                f"no utterance of the {split} split in {shards.uri} is as long as data.crop_samples="
                f"{config.crop_samples} (the longest has {num_samples.max()} samples); shorten the crop"
            )
        group_of = np.stack([table["shard"].to_numpy(), table["row_group"].to_numpy()], axis=1)
        groups, group = np.unique(group_of.astype(np.int64)[keep], axis=0, return_inverse=True)
        return cls(
            utterance_ids=[u for u, k in zip(table["utterance_id"].to_pylist(), keep, strict=True) if k],
            num_samples=num_samples[keep].astype(np.int64),
            group=group.reshape(-1).astype(np.int64),
            row=table["row"].to_numpy()[keep].astype(np.int64),
            mean=table["audio_mean"].to_numpy()[keep].astype(np.float32),
            std=table["audio_std"].to_numpy()[keep].astype(np.float32),
            groups=groups,
            num_too_short=int((~keep).sum()),
        )

    @cached_property
    def keys(self) -> U64:
        return utterance_keys(self.utterance_ids)


@dataclass(frozen=True)
class EpochOrder:
    """The crops of an epoch in the order in which they are trained on, as columns of length R."""

    utterance: I64  # [R] index into the split's utterances
    start: I64  # [R] first sample
    window: I64  # [R] number of the shuffle window, non-decreasing; the crops of a window are read together


def epoch_order(
    index: SplitIndex, config: DataConfig, *, seed: int, epoch: int, shuffle: bool = True
) -> EpochOrder:
    """The order of one epoch's crops.

    Args:
        index: Utterances of the split.
        config: Crops and size of the shuffle window.
        seed: Seed of order and crops.
        epoch: Epoch from 0.
        shuffle: False keeps the order of the shards, for validation.
    """
    owner, start = crop_starts(index.num_samples, index.keys, config, seed, epoch)
    num_groups = len(index.groups)
    shuffled_groups = np.argsort(
        mix(seed, epoch, ORDER, np.arange(num_groups, dtype=np.uint64)), kind="stable"
    )
    groups = shuffled_groups if shuffle else np.arange(num_groups)
    group_sizes = np.bincount(index.group, minlength=num_groups)[groups]
    utterances_before = np.zeros(num_groups, np.int64)
    utterances_before[groups] = np.cumsum(group_sizes) - group_sizes
    window = (utterances_before // config.shuffle_window)[index.group[owner]]
    if shuffle:
        within_window = mix(seed, epoch, ORDER, index.keys[owner], start.astype(np.uint64))
    else:
        within_window = np.arange(len(owner), dtype=np.uint64)
    order = np.lexsort((within_window, window))
    return EpochOrder(owner[order], start[order], window[order])


@dataclass(frozen=True)
class ReadTask:
    """Row groups to read and crops to cut from them, in order: the part of one window that a rank trains on."""

    shards: tuple[int, ...]  # shard number of each row group
    row_groups: tuple[int, ...]  # number of each row group within its shard
    group: I64  # [num_crops] index into the two tuples above
    row: I64  # [num_crops] row within the row group
    start: I64  # [num_crops] first sample
    utterance: I64  # [num_crops] index into the split's utterances, for their mean and standard deviation
    num_samples: I64  # [num_crops] length of the whole utterance, which the row must have
    key: U64  # [num_crops] hash of the utterance's id, which the row must have

    def __len__(self) -> int:
        return len(self.row)


def read_tasks(index: SplitIndex, order: EpochOrder, begin: int, end: int) -> Iterator[ReadTask]:
    """Tasks that read crops [begin, end) of an order: one for each window that they touch."""
    borders = np.flatnonzero(np.diff(order.window[begin:end])) + begin + 1
    for first, last in zip([begin, *borders], [*borders, end], strict=True):
        if first == last:
            continue
        utterance = order.utterance[first:last]
        needed, group = np.unique(index.group[utterance], return_inverse=True)
        shard_and_group = index.groups[needed]
        yield ReadTask(
            shards=tuple(shard_and_group[:, 0].tolist()),
            row_groups=tuple(shard_and_group[:, 1].tolist()),
            group=group.reshape(-1).astype(np.int64),
            row=index.row[utterance],
            start=order.start[first:last],
            utterance=utterance,
            num_samples=index.num_samples[utterance],
            key=index.keys[utterance],
        )
