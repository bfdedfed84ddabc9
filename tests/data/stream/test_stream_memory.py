"""Fifty epochs of the stream need the memory of ten: in this process, in Ray's workers and in its object store."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.waiting import wait_until
from vgim.config.schema import DataConfig
from vgim.data.shards.manifest import read_manifest
from vgim.data.stream import stream as stream_module
from vgim.data.stream.readers import Reader, read_in_process, read_on_ray
from vgim.data.stream.stream import CropStream, RankSlice
from vgim.storage import Location

EPOCHS, HALF, WARM_EPOCHS = 50, 35, 20
MAY_GROW_MIB = 16
"""The crops of the epochs between have ten times as many bytes."""
MAY_READ_AHEAD_MIB = 80
"""An execution of Ray Data may read all of its 40 windows ahead: 54 MiB."""
CROP_SAMPLES = 5_120


def epochs_of(shards: Path, reader: Reader) -> Iterator[int]:
    """Read the epochs; the number of each is given at its end."""
    config = DataConfig(shards=str(shards), crop="tile", crop_samples=CROP_SAMPLES, shuffle_window=12)
    stream = CropStream(
        Location(shards),
        read_manifest(shards),
        config,
        split="train",
        rank_slice=RankSlice(0, 1, 4),
        seed=0,
        reader=reader,
    )
    batches = stream.train_batches(0, 0, epochs=EPOCHS)
    for epoch in range(EPOCHS):
        for _ in range(stream.num_steps(epoch)):
            next(batches)
        yield epoch + 1
    assert next(batches, None) is None


def own_memory_mib(pid: int) -> float:
    """Memory of a process that is not shared: neither files nor the object store."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024  # type: ignore[index]


def worker_pids() -> list[int]:
    """Ray's workers below this process."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    ours = [os.getpid()]
    for pid in ours:
        ours += [child for child, parent in parents.items() if parent == pid]
    return [pid for pid in ours if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::")]


def store_mib() -> float:
    """Bytes of the objects in Ray's object store."""
    import ray
    from ray._private.internal_api import memory_summary

    text = memory_summary(ray.get_runtime_context().gcs_address, stats_only=True)
    return float(re.search(r"Plasma memory usage (\d+) MiB", text)[1])  # type: ignore[index]


def test_epochs_in_this_process_need_no_more_memory(tiny_shards: Path) -> None:
    memory = {epoch: own_memory_mib(os.getpid()) for epoch in epochs_of(tiny_shards, read_in_process)}
    assert memory[EPOCHS] - memory[WARM_EPOCHS] < MAY_GROW_MIB / 4


@pytest.mark.slow
def test_epochs_on_ray_need_no_more_memory(
    ray_session: None, tiny_shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "WINDOWS_AT_ONCE", 40)  # an execution of Ray Data for ten epochs
    driver, workers = {}, {}
    stored_before = store_mib()
    for epoch in epochs_of(tiny_shards, read_on_ray):
        if epoch % 5 == 0:  # Ray deletes in turns of a second; the epochs between may have been read in one
            wait_until(
                lambda: store_mib() - stored_before < MAY_READ_AHEAD_MIB, "what was taken leaves the store"
            )
        if epoch in (WARM_EPOCHS, HALF, EPOCHS):
            driver[epoch] = own_memory_mib(os.getpid())
            workers[epoch] = {pid: own_memory_mib(pid) for pid in worker_pids()}
    assert driver[EPOCHS] - driver[WARM_EPOCHS] < MAY_GROW_MIB
    lasting = workers[WARM_EPOCHS].keys() & workers[HALF].keys() & workers[EPOCHS].keys()
    assert lasting
    for pid in lasting:  # one that reads for the first time imports what it needs, once
        first, second = (
            workers[end][pid] - workers[begin][pid] for begin, end in pairwise((WARM_EPOCHS, HALF, EPOCHS))
        )
        assert min(first, second) < MAY_GROW_MIB / 2
    wait_until(lambda: store_mib() - stored_before < MAY_GROW_MIB, "the object store is empty again")
