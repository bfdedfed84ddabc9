"""The stream of one rank: batches of crops, from any step of any epoch on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I32, I64
from vgim.config.augment_section import AugmentConfig
from vgim.config.schema import DataConfig
from vgim.data.pcm import Pcm16
from vgim.data.shards.cache import cache_plan, use_cache
from vgim.data.shards.manifest import Manifest
from vgim.data.stream.augment import augment_crops, crop_draws, samples_to_read
from vgim.data.stream.crops import fewest_samples
from vgim.data.stream.cut import cut_crops
from vgim.data.stream.order import EpochOrder, ReadTask, SplitIndex, epoch_order, read_tasks
from vgim.data.stream.readers import Reader
from vgim.errors import ConfigError, DataError
from vgim.storage import Location
from vgim.text import plural

WINDOWS_AT_ONCE = 256
"""Windows that one call of the reader gets, over several epochs if need be. Fewer would make the start of an execution
of Ray Data count, more would fill its object store with tasks that wait."""


@dataclass(frozen=True)
class Batch:
    """B crops in the host's memory."""

    audio: Pcm16  # [B, crop_samples]
    mean: NDArray[np.float32]  # [B] of the whole utterances, as float PCM
    std: NDArray[np.float32]  # [B] of the whole utterances, as float PCM
    utterance: I32  # [B] index into the split's utterances
    start: I64  # [B] first sample


class _Crops(NamedTuple):
    """Crops that were read, in order: columns as in `Batch`."""

    audio: Pcm16
    utterance: I32
    start: I64

    def part(self, rows: slice) -> _Crops:
        return _Crops(self.audio[rows], self.utterance[rows], self.start[rows])


@dataclass(frozen=True)
class RankSlice:
    """Which part of a split one rank reads, and in batches of which size."""

    rank: int
    world_size: int
    batch_size: int
    accumulate: int = 1
    """Batches per optimizer step."""
    limit_batches: int | float = 0
    """Batches per rank and epoch, or as a float a share of them; 0 reads all."""

    def num_limited(self, num_batches: int) -> int:
        """Batches that are read of `num_batches`. A share is rounded down, but not below the batches of one step."""
        limit = self.limit_batches
        if isinstance(limit, float):  # 0.29 · 100 is 28.999…
            limit = max(self.accumulate, math.floor(limit * num_batches + 1e-9))
        return min(num_batches, limit) if limit else num_batches


class CropStream:
    """The batches of one rank from one split.

    Args:
        shards: Folder that `vgim data prepare` wrote.
        manifest: Its manifest.
        config: Kind and length of the crops, size of the shuffle window, augmentation.
        split: `train`, `validation` or `test`.
        rank_slice: This rank's part.
        seed: Seed of order and crops.
        reader: `read_in_process` or `read_on_ray`.

    Raises:
        DataError: The split is empty, or a shard is missing or damaged.
        ConfigError: The split has fewer crops than all ranks need for one step.
    """

    def __init__(
        self,
        shards: Location,
        manifest: Manifest,
        config: DataConfig,
        *,
        split: str,
        rank_slice: RankSlice,
        seed: int,
        reader: Reader,
    ) -> None:
        self.index = SplitIndex.read(shards, manifest, split, config)
        self.split = split
        self._config = config
        self._slice = rank_slice
        self._seed = seed
        self._reader = reader
        folder, codec, crop_samples, augment = shards.uri, manifest.codec, config.crop_samples, config.augment
        cache = cache_plan(shards, manifest, config)

        # a closure over small values: it is sent to Ray's workers
        def cut(task: ReadTask) -> Pcm16:
            use_cache(cache)
            if task.draw is None:
                return cut_crops(folder, split, codec, crop_samples, task)
            read = cut_crops(folder, split, codec, samples_to_read(crop_samples, augment), task)
            return augment_crops(read, task.num_samples - task.start, task.draw, crop_samples, augment)

        self._cut = cut
        self._latest: EpochOrder | None = None
        self._num_crops: dict[int, int] = {}

    def of_rank(self, rank: int) -> CropStream:
        """The stream of another rank: the same split, in batches of the same size."""
        stream = copy(self)
        stream._slice = replace(self._slice, rank=rank)
        return stream

    def as_recorded(self) -> CropStream:
        """The whole split for one reader, without augmentation."""
        stream = copy(self)
        stream._slice = RankSlice(0, 1, self._slice.batch_size)
        stream._config = self._config.model_copy(update={"augment": AugmentConfig()})
        return stream

    def _order(self, epoch: int) -> EpochOrder:
        # The prefetching thread plans later epochs while the loop asks for its own.
        latest = self._latest
        if latest is None or latest.epoch != epoch:
            latest = epoch_order(self.index, self._config, seed=self._seed, epoch=epoch)
            self._latest = latest
            self._num_crops[epoch] = latest.num_crops
        return latest

    def num_steps(self, epoch: int) -> int:
        """Optimizer steps of each rank in an epoch. Only with `tile` crops the number differs between epochs."""
        num_crops = self._num_crops.get(epoch) or self._order(epoch).num_crops
        part = self._slice
        num_batches = num_crops // (part.world_size * part.batch_size)
        num_steps = part.num_limited(num_batches) // part.accumulate
        if not num_steps and num_batches >= part.accumulate:
            raise ConfigError(
                f"train.limit_train_batches={part.limit_batches} is less than train.accumulate={part.accumulate}, the "
                "batches of one step; raise it, or lower train.accumulate"
            )
        if not num_steps:
            raise ConfigError(
                f"the {self.split} split gives {num_crops} crops an epoch, too few for one step of "
                f"{part.world_size} workers x train.batch_size={part.batch_size} x train.accumulate="
                f"{part.accumulate}; lower one of them or prepare more audio"
            )
        return num_steps

    def left_out(self) -> str:
        """How many utterances of the split are too short for a crop, in words; empty if none are."""
        num_short = self.index.num_too_short
        if not num_short:
            return ""
        return (
            f"{plural(num_short, 'utterance')} of {num_short + len(self.index):,} of the {self.split} split left out, "
            f"with fewer than the {fewest_samples(self._config)} samples of a crop by data.crop_samples="
            f"{self._config.crop_samples}"
        )

    def window_bytes(self) -> int:
        """Bytes of the crops that a rank reads at once in the first epoch, at most: of a window, or all of its own."""
        read = samples_to_read(self._config.crop_samples, self._config.augment)
        own = math.ceil(self._order(0).num_crops / self._slice.world_size)
        return 2 * read * min(own, int(np.diff(self._order(0).crops_before).max()))

    def train_batches(self, epoch: int, step: int, *, epochs: int, max_steps: int = 0) -> Iterator[Batch]:
        """Batches of the optimizer steps from `step` of `epoch` on, augmented as `data.augment` says.

        Args:
            epoch: First epoch, from 0.
            step: First optimizer step in that epoch, from 0.
            epochs: The epoch to stop before.
            max_steps: Optimizer steps in all; 0 sets no limit.
        """
        yield from self._read(self._train_tasks(epoch, step, epochs, max_steps))

    def _train_tasks(self, epoch: int, step: int, epochs: int, max_steps: int) -> Iterator[ReadTask]:
        steps_left = max_steps or math.inf
        crops_per_step = self._slice.batch_size * self._slice.accumulate
        while epoch < epochs and steps_left > 0:
            num_steps = self.num_steps(epoch)
            end_step = int(min(num_steps, step + steps_left))
            first_crop = self._slice.rank * num_steps * crops_per_step
            begin, end = first_crop + step * crops_per_step, first_crop + end_step * crops_per_step
            yield from self._augmented(epoch, read_tasks(self.index, self._order(epoch), begin, end))
            steps_left -= end_step - step
            epoch, step = epoch + 1, 0

    def _augmented(self, epoch: int, tasks: Iterator[ReadTask]) -> Iterator[ReadTask]:
        """The tasks, with the draws of `data.augment` if it is on."""
        if not self._config.augment.is_on:
            return tasks
        return (replace(task, draw=crop_draws(self._seed, epoch, task.key, task.start)) for task in tasks)

    def validation_batches(self) -> Iterator[Batch]:
        """This rank's part of the split, with the same crops at each call. The last batch may be smaller.

        Crops are augmented as training crops are: the losses of modules that learn from noisy crops mean little on
        clean ones. The draws are the same at each call.

        Ranks may get unequal numbers of batches, so no rank may wait for another within a batch.
        """
        order, crops = self._validation_crops()
        yield from self._read(self._augmented(0, read_tasks(self.index, order, crops.start, crops.stop)))

    def validation_batch_sizes(self) -> list[int]:
        """Crops of each of the batches that `validation_batches` reads."""
        _, crops = self._validation_crops()
        return [
            len(crops[first : first + self._slice.batch_size])
            for first in range(0, len(crops), self._slice.batch_size)
        ]

    def _validation_crops(self) -> tuple[EpochOrder, range]:
        """The order of the split's crops, and this rank's part of them."""
        part = self._slice
        order = epoch_order(self.index, self._config, seed=self._seed, epoch=0, shuffle=False)
        begin, end = (order.num_crops * rank // part.world_size for rank in (part.rank, part.rank + 1))
        num_batches = part.num_limited(math.ceil((end - begin) / part.batch_size))
        return order, range(begin, min(end, begin + num_batches * part.batch_size))

    def _read(self, tasks: Iterator[ReadTask]) -> Iterator[Batch]:
        """Run the tasks and gather their crops into batches, which line up with neither tasks nor blocks."""
        pieces: list[_Crops] = []
        num_missing = self._slice.batch_size
        for crops in self._crops(tasks):
            offset = 0
            while offset < len(crops.audio):
                piece = crops.part(slice(offset, offset + num_missing))
                pieces.append(piece)
                offset += len(piece.audio)
                num_missing -= len(piece.audio)
                if not num_missing:
                    yield self._batch(pieces)
                    pieces, num_missing = [], self._slice.batch_size
        if pieces:
            yield self._batch(pieces)

    def _crops(self, tasks: Iterator[ReadTask]) -> Iterator[_Crops]:
        """Run the tasks, some at a time, and give each block of crops that the reader yields."""
        while some := list(islice(tasks, WINDOWS_AT_ONCE)):
            utterance = np.concatenate([task.utterance for task in some])
            start = np.concatenate([task.start for task in some])
            num_read = 0
            for audio in self._reader(self._cut, some):
                rows = slice(num_read, num_read + len(audio))
                num_read += len(audio)
                yield _Crops(audio, utterance[rows], start[rows])
            if num_read != len(utterance):
                raise DataError(
                    f"the {self.split} split gave {num_read} crops where {len(utterance)} were planned; "
                    "check the shards with `vgim data info --verify`"
                )

    def _batch(self, pieces: list[_Crops]) -> Batch:
        if (
            len(pieces) == 1 and pieces[0].audio.flags.writeable
        ):  # crops that Ray maps into memory are read-only
            audio, utterance, start = pieces[0]
        else:
            audio, utterance, start = (np.concatenate(columns) for columns in zip(*pieces, strict=True))
        return Batch(audio, self.index.mean[utterance], self.index.std[utterance], utterance, start)
