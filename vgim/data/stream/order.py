"""Which crops an epoch holds, in which order, and which of them a rank reads.

The order of an epoch is one sequence for all ranks: row groups in random order, gathered into windows of
`shuffle_window` utterances, crops mixed inside each window. Rank r takes the r-th contiguous stretch of it:
ranks take equally many steps, a row group is read by one rank (two at a border), and the crops do not depend
on the number of ranks. The order is a function of (seed, epoch), so a place in it is two integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vgim.config.schema import DataConfig
from vgim.data.stream.crops import I64, U64, crop_starts, mix, usable, utterance_keys
from vgim.errors import DataError
from vgim.storage import Location

ORDER = 0x6F72646572  # separates the draws of the order from those of the crops


@dataclass(frozen=True)
class SplitIndex:
    """The utterances of a split that are long enough, as columns of length U."""

    utterance_ids: list[str]
    num_samples: I64
    group: I64  # ordinal into `groups`
    row: I64  # row within the row group
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    groups: I64  # [G, 2]: shard number, row group number within the shard
    num_too_short: int

    @classmethod
    def read(cls, shards: Location, split: str, config: DataConfig) -> SplitIndex:
        """Read `index.parquet` of a shard folder.

        Raises:
            DataError: the split is empty, or no utterance in it is long enough for a crop.
        """
        with shards.child("index.parquet").open_input() as source:
            table = pq.read_table(source, filters=[("split", "=", split)])
        if not table.num_rows:
            raise DataError(f"{shards.uri} has no {split} split; prepare it again with a fraction above 0")
        num_samples = table["num_samples"].to_numpy()
        keep = usable(num_samples, config)
        if not keep.any():
            raise DataError(
                f"no utterance of the {split} split in {shards.uri} is as long as data.crop_samples="
                f"{config.crop_samples} (the longest has {num_samples.max()} samples); shorten the crop"
            )
        place = np.stack([table["shard"].to_numpy(), table["row_group"].to_numpy()], axis=1).astype(np.int64)
        groups, group = np.unique(place[keep], axis=0, return_inverse=True)
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
class Order:
    """The crops of an epoch in order, as columns of length R."""

    utterance: I64  # ordinal into the index
    start: I64  # sample
    window: I64  # crops of one window are read together; non-decreasing


def epoch_order(
    index: SplitIndex, config: DataConfig, *, seed: int, epoch: int, shuffle: bool = True
) -> Order:
    """The order of one epoch; without `shuffle`, shard order (validation, which is the same each epoch)."""
    owner, start = crop_starts(index.num_samples, index.keys, config, seed, epoch)
    num_groups = len(index.groups)
    by_draw = np.argsort(mix(seed, epoch, ORDER, np.arange(num_groups, dtype=np.uint64)), kind="stable")
    sequence = by_draw if shuffle else np.arange(num_groups)
    utterances_before = np.zeros(num_groups, np.int64)
    sizes = np.bincount(index.group, minlength=num_groups)[sequence]
    utterances_before[sequence] = np.cumsum(sizes) - sizes
    window = (utterances_before // config.shuffle_window)[index.group[owner]]
    if shuffle:
        within = mix(seed, epoch, ORDER, index.keys[owner], start.astype(np.uint64))
    else:
        within = np.arange(len(owner), dtype=np.uint64)
    order = np.lexsort((within, window))
    return Order(owner[order], start[order], window[order])


@dataclass(frozen=True)
class ReadTask:
    """One window's part of a rank's stretch: what a read task opens and the crops it cuts, in order."""

    shards: tuple[int, ...]  # shard number of each row group that is read
    row_groups: tuple[int, ...]  # its number within the shard
    group: I64  # [n] which of those row groups holds the crop
    row: I64  # [n] row within it
    start: I64  # [n] sample
    utterance: I64  # [n] ordinal into the index, for what the rank knows of the utterance

    def __len__(self) -> int:
        return len(self.row)


def read_tasks(index: SplitIndex, order: Order, lo: int, hi: int) -> Iterator[ReadTask]:
    """The reads that give crops [lo, hi) of an order, one per window that the stretch touches."""
    borders = np.flatnonzero(np.diff(order.window[lo:hi])) + lo + 1
    for a, b in zip([lo, *borders], [*borders, hi], strict=True):
        if a == b:
            continue
        utterance = order.utterance[a:b]
        needed, group = np.unique(index.group[utterance], return_inverse=True)
        places = index.groups[needed]
        yield ReadTask(
            shards=tuple(places[:, 0].tolist()),
            row_groups=tuple(places[:, 1].tolist()),
            group=group.reshape(-1).astype(np.int64),
            row=index.row[utterance],
            start=order.start[a:b],
            utterance=utterance,
        )
