"""The stream: shards → crops → batches, by Ray Data or in this process, the same bytes either way.

Each rank runs a Ray Data pipeline of its own over the windows of its stretch (see plan.py). A task reads a
window's row groups *and* cuts its crops, so that only int16 crops cross the object store, and it runs on the
rank's node, so that they are mapped, not sent. One execution covers as many epochs as it takes to give it
`MIN_WINDOWS`: on a small corpus an epoch is shorter than the time an execution needs to start.
"""

from __future__ import annotations

import logging
import math
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgim.config.schema import DataConfig
from vgim.data.shards.manifest import Manifest
from vgim.data.stream.crops import I64
from vgim.data.stream.cut import I16, cut
from vgim.data.stream.order import Order, ReadTask, SplitIndex, epoch_order, read_tasks
from vgim.errors import ConfigError, DataError, VgimError
from vgim.storage import Location

MIN_WINDOWS = 64
READ_CPUS = 0.5  # of a logical CPU per read task: two ranks share the one CPU that two cores leave them
READS_AT_ONCE = 2  # per rank; one read gives thousands of crops a second, two hide the latency of storage

Cut = Callable[[ReadTask], I16]
Reader = Callable[[Cut, list[ReadTask]], Iterator[I16]]


@dataclass(frozen=True)
class Batch:
    """B crops, on the host."""

    audio: I16  # [B, L]
    mean: NDArray[np.float32]  # [B] of the utterances, float PCM
    std: NDArray[np.float32]  # [B]
    utterance: I64  # [B] ordinal into the split's index
    start: I64  # [B] sample


@dataclass(frozen=True)
class RankSlice:
    """Which part of a split is read here, and in what portions."""

    rank: int
    world_size: int
    batch_size: int
    accumulate: int = 1
    limit_batches: int = 0  # per rank and epoch; 0 for all


class CropStream:
    """The batches of one rank from one split.

    Args:
        shards: folder that `vgim data prepare` wrote.
        manifest: its manifest.
        split: `train` | `validation` | `test`.
        share: this rank's part.
        seed: seed of order and crops.
        reader: `read_on_ray`, or `read_here` for no Ray.

    Raises:
        DataError: an empty split, a missing or damaged shard.
        ConfigError: fewer crops than one step of all ranks takes.
    """

    def __init__(
        self,
        shards: Location,
        manifest: Manifest,
        config: DataConfig,
        *,
        split: str,
        share: RankSlice,
        seed: int,
        reader: Reader,
    ) -> None:
        self.index = SplitIndex.read(shards, split, config)
        self.split = split
        self._config = config
        self._share = share
        self._seed = seed
        self._reader = reader
        folder, codec, length = shards.uri, manifest.codec, config.crop_samples

        def cut_here(task: ReadTask) -> I16:
            return cut(folder, split, codec, length, task)

        self._cut = cut_here
        self._latest: tuple[int, Order] | None = None

    def _order(self, epoch: int) -> Order:
        # The loop asks for its epoch while a thread plans later ones: the pair is read once and replaced whole.
        latest = self._latest
        if latest is None or latest[0] != epoch:
            latest = epoch, epoch_order(self.index, self._config, seed=self._seed, epoch=epoch)
            self._latest = latest
        return latest[1]

    def steps_in(self, epoch: int) -> int:
        """Optimizer steps of each rank in an epoch. Only `tile` crops make it differ between epochs."""
        num_crops = len(self._order(epoch).utterance)
        share = self._share
        batches = num_crops // (share.world_size * share.batch_size)
        if share.limit_batches:
            batches = min(batches, share.limit_batches)
        steps = batches // share.accumulate
        if not steps:
            raise ConfigError(
                f"the {self.split} split gives {num_crops} crops an epoch, too few for one step of "
                f"{share.world_size} workers x train.batch_size={share.batch_size} x train.accumulate="
                f"{share.accumulate}; lower one of them or prepare more audio"
            )
        return steps

    def train_batches(self, epoch: int, step: int, *, epochs: int, max_steps: int = 0) -> Iterator[Batch]:
        """Batches from optimizer step `step` of `epoch` on, to the end of `epochs` or for `max_steps` steps."""
        remaining = max_steps or math.inf
        while epoch < epochs and remaining > 0:
            portion: list[ReadTask] = []
            while epoch < epochs and remaining > 0 and len(portion) < MIN_WINDOWS:
                in_epoch = self.steps_in(epoch)
                last = int(min(in_epoch, step + remaining))
                portion += self._rank_slice(epoch, step, last, in_epoch)
                remaining -= last - step
                epoch, step = epoch + 1, 0
            yield from self._read(portion)

    def validation_batches(self) -> Iterator[Batch]:
        """This rank's part of the split, the same crops each time; the last batch may be smaller.

        Ranks may get unequal numbers of batches: nothing collective may happen per batch.
        """
        share = self._share
        order = epoch_order(self.index, self._config, seed=self._seed, epoch=0, shuffle=False)
        num_crops = len(order.utterance)
        lo, hi = (num_crops * r // share.world_size for r in (share.rank, share.rank + 1))
        if share.limit_batches:
            hi = min(hi, lo + share.limit_batches * share.batch_size)
        yield from self._read(list(read_tasks(self.index, order, lo, hi)))

    def _rank_slice(self, epoch: int, first: int, last: int, in_epoch: int) -> Iterator[ReadTask]:
        """The reads for optimizer steps [first, last) of this rank's stretch of an epoch."""
        per_step = self._share.batch_size * self._share.accumulate
        begin = self._share.rank * in_epoch * per_step
        return read_tasks(self.index, self._order(epoch), begin + first * per_step, begin + last * per_step)

    def _read(self, portion: list[ReadTask]) -> Iterator[Batch]:
        """Re-batch what the reader yields: neither windows nor its blocks line up with batches."""
        size = self._share.batch_size
        utterance = np.concatenate([task.utterance for task in portion]) if portion else np.empty(0, np.int64)
        start = np.concatenate([task.start for task in portion]) if portion else utterance
        held: list[I16] = []
        num_held = done = 0
        for crops in self._reader(self._cut, portion) if portion else ():
            offset = 0
            while offset < len(crops):
                held.append(crops[offset : offset + size - num_held])
                num_held += len(held[-1])
                offset += len(held[-1])
                if num_held == min(size, len(utterance) - done):
                    yield self._batch(held, utterance[done : done + num_held], start[done : done + num_held])
                    done += num_held
                    held, num_held = [], 0
        if done != len(utterance):
            raise DataError(
                f"the {self.split} split gave {done} crops where {len(utterance)} were planned; "
                "check the shards with `vgim data info --verify`"
            )

    def _batch(self, held: list[I16], utterance: I64, start: I64) -> Batch:
        return Batch(
            np.concatenate(held), self.index.mean[utterance], self.index.std[utterance], utterance, start
        )


def read_here(cut_one: Cut, portion: list[ReadTask]) -> Iterator[I16]:
    """Read in this process: for one worker without Ray, for notebooks and for tests."""
    return (cut_one(task) for task in portion)


def read_on_ray(cut_one: Cut, portion: list[ReadTask]) -> Iterator[I16]:
    """Read with Ray Data: one task per window, in order, at most `READS_AT_ONCE` of them ahead."""
    import ray

    _configure_ray_data()

    def read(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            return {"audio": cut_one(pickle.loads(batch["work"][0]))}  # our own bytes, from the lines below
        except VgimError as error:  # as data: what a task raises, Ray wraps until only text is left of it
            return {"error": np.array([pickle.dumps(error)], dtype=object)}

    here = ray.get_runtime_context().get_node_id()
    items = [{"work": pickle.dumps(task)} for task in portion]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        read,
        batch_size=None,
        zero_copy_batch=True,
        num_cpus=READ_CPUS,
        concurrency=READS_AT_ONCE,
        label_selector={"ray.io/node-id": here},
        # Workers, of this run or of others, may hold all of the node's CPUs: rather over the network than never.
        fallback_strategy=[{"label_selector": {"ray.io/node-id": f"!{here}"}}],
    )
    for block in dataset.iter_batches(batch_size=None, prefetch_batches=1):
        if "error" in block:
            raise pickle.loads(block["error"][0])
        yield block["audio"]


def _configure_ray_data() -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.use_datasource_v2 = False  # seconds slower to the first block than the first version
    context.execution_options.preserve_order = True  # the order of blocks is the order of the plan
    logging.getLogger("ray.data").setLevel(logging.ERROR)
