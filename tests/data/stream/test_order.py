"""The order of an epoch holds every utterance once, is the same for all ranks, and can be read from any crop on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.shard_damage import as_before_hashes, change_index
from vgim.config.schema import DataConfig
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream.crops import crop_starts, mix, utterance_keys
from vgim.data.stream.order import ORDER, EpochOrder, ReadTask, SplitIndex, epoch_order, read_tasks
from vgim.errors import DataError
from vgim.storage import Location

LENGTH = 1_600
group_sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def config(**more: Any) -> DataConfig:
    return DataConfig(**{"shards": "none", "crop_samples": LENGTH, "shuffle_window": 8, **more})


def index_of(sizes: list[int], seed: int = 0) -> SplitIndex:
    """An index whose row groups have these sizes, three to a shard."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    count = len(group)
    rng = np.random.default_rng(seed)
    return SplitIndex(
        keys=utterance_keys(pa.chunked_array([[f"utterance-{number}" for number in range(count)]])),
        num_samples=rng.integers(2 * LENGTH, 6 * LENGTH, count),
        group=group.astype(np.int32),
        row=np.concatenate([np.arange(size, dtype=np.int32) for size in sizes]),
        mean=np.zeros(count, np.float32),
        std=np.ones(count, np.float32),
        groups=np.array([(number // 3, number % 3) for number in range(len(sizes))]),
        num_too_short=0,
    )


Crop = tuple[int, int]
"""Index of an utterance, and first sample."""


def windows(order: EpochOrder) -> list[list[Crop]]:
    """The crops of each window."""
    crops = (order.crops_of_window(number) for number in range(len(order.window_borders) - 1))
    return [list(zip(utterance.tolist(), start.tolist(), strict=True)) for utterance, start in crops]


def pairs(order: EpochOrder) -> list[Crop]:
    return [crop for window in windows(order) for crop in window]


def utterances(order: EpochOrder) -> list[int]:
    return [utterance for utterance, _ in pairs(order)]


def order_of_all_crops(
    index: SplitIndex, config: DataConfig, seed: int, epoch: int, *, shuffle: bool
) -> list[Crop]:
    """The order as it is defined: all crops of the epoch at once, sorted by window and by a hash within it."""
    owner, start = crop_starts(index.num_samples, index.keys, config, seed, epoch)
    num_groups = len(index.groups)
    draw = mix(seed, epoch, ORDER, np.arange(num_groups, dtype=np.uint64))
    groups = np.argsort(draw, kind="stable") if shuffle else np.arange(num_groups)
    sizes = np.bincount(index.group, minlength=num_groups)[groups]
    before = np.zeros(num_groups, np.int64)
    before[groups] = np.cumsum(sizes) - sizes
    window = (before // config.shuffle_window)[index.group[owner]]
    within = mix(seed, epoch, ORDER, index.keys[owner], start.astype(np.uint64))
    order = np.lexsort((within if shuffle else np.arange(len(owner)), window))
    return list(zip(owner[order].tolist(), start[order].tolist(), strict=True))


def crops_of(index: SplitIndex, tasks: list[ReadTask]) -> list[Crop]:
    """The crops that the tasks cut, found by shard, row group and row, as a reader finds them."""
    utterance_at = {
        (*index.groups[group].tolist(), int(row)): ordinal
        for ordinal, (group, row) in enumerate(zip(index.group, index.row, strict=True))
    }
    return [
        (utterance_at[task.shards[group], task.row_groups[group], int(row)], int(start))
        for task in tasks
        for group, row, start in zip(task.group, task.row, task.start, strict=True)
    ]


@given(
    group_sizes,
    st.sampled_from(["random", "tile", "first"]),
    st.integers(0, 2**31),
    st.integers(0, 50),
    st.integers(1, 20),
    st.booleans(),
)
def test_windows_one_by_one_give_the_order_of_all_crops_at_once(
    sizes: list[int], crop: str, seed: int, epoch: int, window: int, shuffle: bool
) -> None:
    index, crops = index_of(sizes, seed), config(crop=crop, shuffle_window=window)
    order = epoch_order(index, crops, seed=seed, epoch=epoch, shuffle=shuffle)
    expected = order_of_all_crops(index, crops, seed, epoch, shuffle=shuffle)
    assert pairs(order) == expected
    assert order.num_crops == len(expected)


@given(group_sizes, st.integers(0, 2**31), st.integers(0, 50), st.integers(1, 20))
def test_every_utterance_comes_once_an_epoch(sizes: list[int], seed: int, epoch: int, window: int) -> None:
    index = index_of(sizes)
    order = epoch_order(index, config(shuffle_window=window), seed=seed, epoch=epoch)
    assert sorted(utterances(order)) == list(range(sum(sizes)))


def test_every_tile_comes_once_an_epoch_and_tiles_cover_nearly_all_audio() -> None:
    index = index_of([5, 7, 6])
    order = epoch_order(index, config(crop="tile"), seed=1, epoch=2)
    assert len(set(pairs(order))) == order.num_crops
    assert order.num_crops * LENGTH > index.num_samples.sum() - 18 * 2 * LENGTH
    assert set(utterances(order)) == set(range(18))


def test_the_order_is_reproducible_and_differs_between_epochs_and_seeds() -> None:
    index = index_of([6] * 20)
    order = {(s, e): epoch_order(index, config(), seed=s, epoch=e) for s in range(2) for e in range(3)}
    assert pairs(order[1, 2]) == pairs(epoch_order(index, config(), seed=1, epoch=2))
    sequences = {tuple(utterances(o)) for o in order.values()}
    assert len(sequences) == 6
    firsts = {key: {int(index.group[u]) for u, _ in windows(o)[0]} for key, o in order.items()}
    # Row groups are shuffled anew as well, not only the crops within their windows.
    assert any(firsts[0, 0] != firsts[0, epoch] for epoch in (1, 2))
    assert any(firsts[0, epoch] != firsts[1, epoch] for epoch in range(3))


def test_crops_of_a_window_are_mixed_over_its_row_groups() -> None:
    index = index_of([8] * 8)
    order = epoch_order(index, config(shuffle_window=32), seed=0, epoch=0)
    groups = index.group[utterances(order)]
    assert len(set(groups[:32].tolist())) == 4
    assert np.count_nonzero(np.diff(groups[:32])) > 12  # four blocks in a row would have 3 changes


def test_without_shuffling_the_order_is_that_of_the_shards() -> None:
    order = epoch_order(index_of([3, 4, 5]), config(), seed=3, epoch=4, shuffle=False)
    assert utterances(order) == list(range(12))


@given(group_sizes, st.data(), st.sampled_from(["random", "tile", "first"]))
def test_read_tasks_of_any_slice_give_that_slice_of_the_order(
    sizes: list[int], data: st.DataObject, crop: str
) -> None:
    index = index_of(sizes)
    order = epoch_order(index, config(crop=crop), seed=data.draw(st.integers(0, 99)), epoch=0)
    lo = data.draw(st.integers(0, order.num_crops))
    hi = data.draw(st.integers(lo, order.num_crops))
    tasks = list(read_tasks(index, order, lo, hi))
    assert crops_of(index, tasks) == pairs(order)[lo:hi]
    assert [int(u) for task in tasks for u in task.utterance] == utterances(order)[lo:hi]
    assert all(len(task) > 0 for task in tasks)


@given(st.lists(st.integers(1, 6), min_size=30, max_size=40), st.integers(1, 3), st.integers(0, 99))
def test_a_row_group_is_read_once_by_one_rank_or_by_two_at_a_border(
    sizes: list[int], num_ranks: int, seed: int
) -> None:
    index = index_of(sizes)
    order = epoch_order(index, config(shuffle_window=2), seed=seed, epoch=0)
    crops_per_rank = order.num_crops // num_ranks  # at least 10, and a window has at most 7
    readers: dict[tuple[int, int], list[int]] = {}
    for rank in range(num_ranks):
        for task in read_tasks(index, order, rank * crops_per_rank, (rank + 1) * crops_per_rank):
            for row_group in zip(task.shards, task.row_groups, strict=True):
                readers.setdefault(row_group, []).append(rank)
    assert all(len(ranks) <= min(2, num_ranks) for ranks in readers.values())
    assert all(len(set(ranks)) == len(ranks) for ranks in readers.values())


def test_a_split_whose_utterances_are_all_too_short_is_refused_with_the_longest(tiny_shards: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"the 200160 samples of a crop by data\.crop_samples=200000 \(the longest has \d+ samples\); shorten",
    ) as e:
        SplitIndex.read(
            Location(tiny_shards), read_manifest(tiny_shards), "train", config(crop_samples=200_000)
        )
    assert "\n" not in str(e.value)


def test_utterances_that_are_too_short_are_left_out_and_counted(tiny_shards: Path) -> None:
    whole = SplitIndex.read(
        Location(tiny_shards), read_manifest(tiny_shards), "train", config(crop_samples=5_120)
    )
    limit = int(np.median(whole.num_samples))
    some = SplitIndex.read(
        Location(tiny_shards), read_manifest(tiny_shards), "train", config(crop_samples=limit, crop="tile")
    )
    assert len(whole) == 40
    assert whole.num_too_short == 0
    assert some.num_too_short == int((whole.num_samples < limit).sum()) > 0
    assert some.num_too_short + len(some) == 40
    assert some.num_samples.min() >= limit


def test_a_split_without_utterances_is_refused_by_its_name(tiny_shards: Path) -> None:
    with pytest.raises(DataError, match="has no other split; prepare it again"):
        SplitIndex.read(Location(tiny_shards), read_manifest(tiny_shards), "other", config())


def test_an_index_in_another_order_gives_the_same_crops(tiny_shards: Path, tmp_path: Path) -> None:
    shards = tmp_path / "shards"
    shutil.copytree(tiny_shards, shards)
    as_before_hashes(shards)
    index = SplitIndex.read(Location(shards), read_manifest(shards), "train", config())
    change_index(shards, lambda table: table.take(np.arange(table.num_rows)[::-1]))
    other = SplitIndex.read(Location(shards), read_manifest(shards), "train", config())
    assert (np.diff(other.group) >= 0).all()
    found = [
        {(int(i.keys[u]), start) for u, start in windows(epoch_order(i, config(), seed=0, epoch=0))[0]}
        for i in (index, other)
    ]
    assert found[0] == found[1]
