"""The order of an epoch's crops, and the read tasks for any contiguous part of it.

An epoch has one order for all ranks: row groups in random order, gathered into windows of `shuffle_window`
utterances, with the crops shuffled inside each window. Rank r reads the r-th contiguous slice of it. So all ranks take
equally many steps, a row group is read by one rank (by two at a border), and the crops do not depend on the world
size. The order is a function of (seed, epoch): epoch and step are enough to resume.

Crops are worked out window by window, as they are read: the start of an epoch costs a pass over the lengths of the
utterances for `tile`, over the row groups for other crops, and an epoch needs no memory for its crops.

Shapes: U utterances of a split, G row groups, W windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I32, I64, U64
from vgim.config.schema import DataConfig
from vgim.data.shards.index import read_split
from vgim.data.shards.manifest import Manifest
from vgim.data.stream.crops import crop_starts, fewest_samples, mix, num_crops, usable, utterance_keys
from vgim.errors import DataError
from vgim.storage import Location

ORDER = 0x6F72646572  # keeps the random numbers of the order apart from those of the crops
BLOCK = 1 << 20
"""Utterances whose crops are counted at once, which bounds the memory of it."""
INDEX_COLUMNS = ("utterance_id", "shard", "row_group", "row", "num_samples", "audio_mean", "audio_std")


@dataclass(frozen=True)
class SplitIndex:
    """The utterances of a split that are long enough for a crop, in the order of the shards."""

    keys: U64  # [U] hash of the utterance's id
    num_samples: I64  # [U]
    group: I32  # [U] index into `groups`, non-decreasing
    row: I32  # [U] row within the row group
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
        table = read_split(shards, manifest, split, INDEX_COLUMNS)
        if not table.num_rows:
            raise DataError(f"{shards.uri} has no {split} split; prepare it again with a fraction above 0")
        num_samples = table["num_samples"].to_numpy()
        keep = usable(num_samples, config)
        if not keep.any():
            raise DataError(
                f"no utterance of the {split} split in {shards.uri} has the {fewest_samples(config)} samples of a crop "
                f"by data.crop_samples={config.crop_samples} (the longest has {num_samples.max()} samples); shorten "
                "the crop"
            )
        if not keep.all():
            table = table.filter(keep)
        shard, row_group = (table[name].to_numpy().astype(np.int64) for name in ("shard", "row_group"))
        place = shard << 32 | row_group
        if (np.diff(place) < 0).any():  # every index that vgim wrote is in this order already
            table = table.take(np.argsort(place, kind="stable"))
            place.sort()
        places, group = np.unique(place, return_inverse=True)
        return cls(
            keys=utterance_keys(table["utterance_id"]),
            num_samples=table["num_samples"].to_numpy(),
            group=group.astype(np.int32),
            row=table["row"].to_numpy(),
            mean=table["audio_mean"].to_numpy(),
            std=table["audio_std"].to_numpy(),
            groups=np.stack([places >> 32, places & 0xFFFFFFFF], axis=1),
            num_too_short=len(keep) - table.num_rows,
        )

    @cached_property
    def group_borders(self) -> I64:
        """First utterance of each row group, and U at the end, [G + 1]."""
        return np.searchsorted(self.group, np.arange(len(self.groups) + 1))

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class EpochOrder:
    """The order in which the crops of an epoch are trained on."""

    index: SplitIndex
    config: DataConfig
    seed: int
    epoch: int
    shuffle: bool
    groups: I64  # [G] row groups in the order in which they are read
    window_borders: (
        I64  # [W + 1] the first of `groups` in each window, and G; the crops of a window are read together
    )
    crops_before: I64  # [W + 1] crops before each window, and all

    @property
    def num_crops(self) -> int:
        """Crops of the epoch."""
        return int(self.crops_before[-1])

    def crops_of_window(self, window: int) -> tuple[I64, I64]:
        """The crops of a window (R), in order: index of the utterance [R] and first sample [R]."""
        index, first, end = self.index, *self.window_borders[window : window + 2]
        borders = index.group_borders
        groups = np.sort(self.groups[first:end])
        chosen = np.concatenate([np.arange(borders[group], borders[group + 1]) for group in groups])
        num_samples, keys = index.num_samples[chosen], index.keys[chosen]
        owner, start = crop_starts(num_samples, keys, self.config, self.seed, self.epoch)
        if not self.shuffle:
            return chosen[owner], start
        draw = mix(self.seed, self.epoch, ORDER, keys[owner], start.astype(np.uint64))
        order = np.argsort(draw, kind="stable")
        return chosen[owner[order]], start[order]


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
    num_groups = len(index.groups)
    groups = np.arange(num_groups)
    if shuffle:
        groups = np.argsort(mix(seed, epoch, ORDER, groups.astype(np.uint64)), kind="stable")
    sizes = np.diff(index.group_borders)
    window = (np.cumsum(sizes[groups]) - sizes[groups]) // config.shuffle_window  # [G], non-decreasing
    window_borders = np.flatnonzero(np.diff(window, prepend=-1, append=-1))
    crops_of_group = _crops_of_group(index, config, seed, epoch) if config.crop == "tile" else sizes
    crops_before = np.append(0, np.cumsum(crops_of_group[groups]))[window_borders]
    return EpochOrder(index, config, seed, epoch, shuffle, groups, window_borders, crops_before)


def _crops_of_group(index: SplitIndex, config: DataConfig, seed: int, epoch: int) -> I64:
    """Crops that an epoch cuts from each row group, [G]."""
    total = np.zeros(len(index.groups), np.int64)
    for first in range(0, len(index), BLOCK):
        block = slice(first, first + BLOCK)
        counts = num_crops(index.num_samples[block], index.keys[block], config, seed, epoch)
        np.add.at(total, index.group[block], counts)
    return total


@dataclass(frozen=True)
class ReadTask:
    """Row groups to read and crops to cut from them, in order: the part of one window that a rank trains on."""

    shards: tuple[int, ...]  # shard number of each row group
    row_groups: tuple[int, ...]  # number of each row group within its shard
    group: I32  # [num_crops] index into the two tuples above
    row: I32  # [num_crops] row within the row group
    start: I64  # [num_crops] first sample
    utterance: I32  # [num_crops] index into the split's utterances, for their mean and standard deviation
    num_samples: I64  # [num_crops] length of the whole utterance, which the row must have
    key: U64  # [num_crops] hash of the utterance's id, which the row must have
    draw: U64 | None = None  # [num_crops] seed of each crop's augmentation; None leaves the crops as they are

    def __len__(self) -> int:
        return len(self.row)


def read_tasks(index: SplitIndex, order: EpochOrder, begin: int, end: int) -> Iterator[ReadTask]:
    """Tasks that read crops [begin, end) of an order: one for each window that they touch."""
    if begin >= end:
        return
    first_window, last_window = np.searchsorted(order.crops_before, [begin, end - 1], side="right") - 1
    for window in range(first_window, last_window + 1):
        before = order.crops_before[window]
        part = slice(max(begin - before, 0), end - before)
        utterance, start = (column[part] for column in order.crops_of_window(window))
        needed, group = np.unique(index.group[utterance], return_inverse=True)
        shard_and_group = index.groups[needed]
        yield ReadTask(
            shards=tuple(shard_and_group[:, 0].tolist()),
            row_groups=tuple(shard_and_group[:, 1].tolist()),
            group=group.astype(np.int32),
            row=index.row[utterance],
            start=start,
            utterance=utterance.astype(np.int32),
            num_samples=index.num_samples[utterance],
            key=index.keys[utterance],
        )
