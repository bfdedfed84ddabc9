"""The batches of a rank: micro-batches of its virtual ranks for training, and batches for validation."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator
from contextlib import closing

from torch import Tensor

from vgim.config import AnyConfig
from vgim.data.shards.manifest import Manifest
from vgim.data.stream.stream import Batch, CropStream, RankSlice
from vgim.model.audio import Normalizer, Statistics
from vgim.schedules.schedule import Phase
from vgim.storage import Location
from vgim.training.learner import Worker
from vgim.training.prefetch import DeviceBatch, Prefetcher, RankedBatch
from vgim.training.progress import Progress
from vgim.training.share import Share
from vgim.training.stages.rank import StageRank


class RankBatches:
    """Reads the crops of a rank's virtual ranks, ahead of the step, and normalizes them.

    A rank of a stage behind the first reads no audio: for validation it gets latents from the stage before.

    Args:
        config: The run's config.
        manifest: Manifest of its shards.
        worker: The rank's process.
        share: The virtual ranks whose work the rank does.
        stages: The rank's place among the stages, under a schedule that has stages.
    """

    def __init__(
        self,
        config: AnyConfig,
        manifest: Manifest,
        worker: Worker,
        share: Share,
        stages: StageRank | None,
    ) -> None:
        self._config, self._manifest, self._worker = config, manifest, worker
        self.device = worker.device
        """Where batches are sent."""
        self._share, self._stages = share, stages
        corpus = Statistics(manifest.corpus_mean, manifest.corpus_std)
        self._normalizer = Normalizer(config.data.normalize, corpus)
        self.train_streams = self._streams("train", config.train.limit_train_batches)
        """The streams of the virtual ranks."""
        limit = config.train.limit_validation_batches
        has_validation = bool(manifest.split("validation").utterances)
        self.validation_streams = self._streams("validation", limit) if has_validation else []
        """The streams of the virtual ranks; none where the shards have no validation split."""

    @property
    def reads_audio(self) -> bool:
        """Whether the rank's first module reads audio, not latents of another stage."""
        return self._stages is None or self._stages.mesh.reads_audio

    def left_out(self) -> list[str]:
        """A line for each split of which utterances are too short for a crop."""
        streams = (self.train_streams[0], *self.validation_streams[:1])
        return [line for stream in streams if (line := stream.left_out())]

    def steps_in(self, epoch: int) -> int:
        """Optimizer steps of an epoch."""
        return self.train_streams[0].num_steps(epoch)

    def of_phase(self, phase: Phase, progress: Progress) -> list[Prefetcher]:
        """The micro-batches of each virtual rank from `progress` to the end of a phase; none on a rank without audio.

        They are read in the background until each is closed.
        """
        train = self._config.train
        return [
            self._ahead(
                stream.train_batches(
                    progress.epoch,
                    progress.step_in_epoch,
                    epochs=progress.epoch + phase.epochs - progress.phase_epoch,
                    max_steps=max(train.max_steps - progress.phase_step, 0),
                )
            )
            for stream in (self.train_streams if self.reads_audio else ())
        ]

    def of_validation(self) -> Generator[RankedBatch, None, None]:
        """The batches of validation, as the rank's first module reads them, one virtual rank after the other."""
        for rank, stream in zip(self._share.virtual_ranks, self.validation_streams, strict=True):
            if self._stages is not None and not self.reads_audio:
                for number, size in enumerate(stream.validation_batch_sizes()):
                    yield RankedBatch(rank, number, self._stages.link.validation_input(rank, size))
                continue
            with closing(self._ahead(stream.validation_batches())) as batches:
                for number, batch in enumerate(batches):
                    yield RankedBatch(rank, number, self.audio(batch))

    def as_recorded(self, num_crops: int) -> Generator[Tensor, None, None]:
        """The first training crops without augmentation, normalized audio [B, L] each, on a rank that reads audio."""
        stream = self.train_streams[0].as_recorded()
        num_batches = math.ceil(num_crops / self._config.train.batch_size)
        with closing(self._ahead(stream.train_batches(0, 0, epochs=1, max_steps=num_batches))) as batches:
            for batch in batches:
                yield self.audio(batch)

    def audio(self, batch: DeviceBatch) -> Tensor:
        """The normalized audio of a batch, [B, L]."""
        return self._normalizer(batch.audio_BL, Statistics(batch.mean_B, batch.std_B))

    def _streams(self, split: str, limit: int | float) -> list[CropStream]:
        train = self._config.train
        accumulate = train.accumulate if split == "train" else 1
        first, *others = self._share.virtual_ranks
        stream = CropStream(
            Location(self._config.data.shards),
            self._manifest,
            self._config.data,
            split=split,
            rank_slice=RankSlice(first, self._share.num_virtual, train.batch_size, accumulate, limit),
            seed=train.seed,
            reader=self._worker.reader,
        )
        return [stream, *(stream.of_rank(rank) for rank in others)]

    def _ahead(self, batches: Iterator[Batch]) -> Prefetcher:
        return Prefetcher(batches, depth=self._config.data.prefetch_batches, device=self.device)
