"""The checkpoints of a run on one of its ranks: the rank that saves writes them, and all ranks report them together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict

import torch

import vgim
from vgim.config import AnyConfig
from vgim.data.shards.manifest import Manifest
from vgim.errors import StorageError, VgimError
from vgim.runs.checkpoint import checkpoint_location
from vgim.runs.metrics_writer import Event, MetricsWriter
from vgim.runs.training_state import TrainingState
from vgim.storage import Location
from vgim.training.checkpoint_writer import CheckpointWriter
from vgim.training.learner import Worker
from vgim.training.progress import Progress
from vgim.training.share import Share

_logger = logging.getLogger(__name__)
SLOW_STORAGE_S = 1.0
"""Seconds that training may wait for a checkpoint without a word, since the storage is slower than they are due."""


class RankCheckpoints:
    """Writes and reports the checkpoints of a run. All ranks call `write`, `report` and `finish` at the same steps.

    Args:
        run: the run's folder.
        worker: this rank.
        config: the run's config.
        metrics: writer of the run's records on the rank that saves, None on others.
        check_claim: raises ClaimLostError if another launch has taken over the run's folder.
        keep_step: step of a checkpoint that is never deleted.
    """

    def __init__(
        self,
        run: Location,
        worker: Worker,
        config: AnyConfig,
        metrics: MetricsWriter | None,
        *,
        check_claim: Callable[[], None],
        keep_step: int | None,
    ) -> None:
        self._check_claim = check_claim
        self._run, self._worker, self._metrics = run, worker, metrics
        self._writer: CheckpointWriter | None = None
        if worker.group.saves:
            self._writer = CheckpointWriter(run, worker.device, config, keep_step=keep_step)
        self._unreported: list[Progress] = []
        self._warned = False

    @property
    def written_step(self) -> int:
        """Step of the newest checkpoint that is on storage, on the rank that saves; 0 before the first.

        Raises:
            StorageError: a checkpoint could not be written.
        """
        if self._writer is None:
            return 0
        self._writer.raise_error()
        return self._writer.written_step

    def write(
        self, progress: Progress, state: TrainingState, tensors: Mapping[str, Mapping[str, torch.Tensor]]
    ) -> None:
        """Start to write a checkpoint; waits for the one before and for the copy of the weights.

        Args:
            tensors: the tensors of `checkpoint_tensors`, on the rank that saves.

        Raises:
            StorageError: the checkpoint before could not be written.
        """
        self._unreported.append(progress)
        if self._writer is None or self._metrics is None:
            return
        keep_records = self._metrics.keep_written()

        def keep_records_as_holder() -> None:
            self._check_claim()
            keep_records()
            self._check_claim()  # the checkpoint counts only after this

        waited_s = self._writer.write(state, tensors, meanwhile=keep_records_as_holder)
        if waited_s > SLOW_STORAGE_S and not self._warned:
            self._warned = True
            self._log(
                progress,
                f"training waited {waited_s:.0f} s for the checkpoint before to be written to {self._run.uri}; the "
                "storage is slower than checkpoints are due: write them less often (train.checkpoint_every_minutes, "
                "train.checkpoint_every_steps)",
            )

    def report(self, step: int) -> None:
        """Report the checkpoints up to a step, which are on storage."""
        while self._unreported and self._unreported[0].step <= step:
            progress = self._unreported.pop(0)
            if self._worker.group.saves:
                self._worker.on_record("checkpoint", {"step": progress.step})
            metrics = {"step": float(progress.step), "epoch": float(progress.epoch)}
            if progress.validation_loss is not None:
                metrics["validation_loss"] = progress.validation_loss
            self._worker.on_checkpoint(metrics, checkpoint_location(self._run, progress.step))

    def finish(self) -> None:
        """Wait for the last checkpoint, and report all that were not reported yet.

        Raises:
            StorageError: the checkpoint could not be written.
        """
        if self._writer is not None:
            self._writer.wait()
        if self._unreported:
            self.report(self._unreported[-1].step)

    def close(self, progress: Progress) -> None:
        """Wait for a checkpoint that is still being written after an error of the loop, which ends the run."""
        if self._writer is None:
            return
        try:
            self._writer.wait()
        except VgimError as error:
            message = f"the last checkpoint was not written: {error}"
            try:
                self._log(progress, message)
            except StorageError:  # which would hide the error that ends the run
                _logger.warning("%s", message)

    def abandon(self) -> None:
        """Wait for a checkpoint that is still being written to a folder that is another process's now."""
        if self._writer is not None:
            with suppress(VgimError):
                self._writer.wait()

    def _log(self, progress: Progress, message: str) -> None:
        if self._metrics is not None:
            self._metrics.event(progress.step, Event(message))


def training_state(progress: Progress, config: AnyConfig, manifest: Manifest, share: Share) -> TrainingState:
    """The state that a checkpoint at `progress` holds, without the stamps of its files."""
    train = config.train
    return TrainingState(
        **asdict(progress),
        world_size=share.num_virtual,
        batch_size=train.batch_size,
        accumulate=train.accumulate,
        seed=train.seed,
        data_fingerprint=manifest.fingerprint,
        corpus_mean=manifest.corpus_mean,
        corpus_std=manifest.corpus_std,
        vgim_version=vgim.__version__,
        torch_version=torch.__version__,
        files={},
    )
