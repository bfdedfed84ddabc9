"""The loop that each rank runs. It knows torch.distributed but not Ray: whoever calls it gives it a `Worker`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import vgim
from vgim.config import RunConfig
from vgim.config.keys import dump, flatten
from vgim.data.manifest import Manifest, read_manifest
from vgim.data.stream import CropStream, Reader, Share
from vgim.errors import TrainingError
from vgim.model.audio import to_float
from vgim.model.stack import Encoder, build_encoder
from vgim.storage import Location
from vgim.train import checkpoint as checkpoints
from vgim.train.collapse import CollapseWatch
from vgim.train.ddp import Replicas, average_buffers
from vgim.train.meter import Meter
from vgim.train.metrics import MetricsWriter, Record
from vgim.train.prefetch import DeviceBatch, Prefetcher
from vgim.train.start import Place, start_from
from vgim.train.state import TrainingState
from vgim.train.step import JointStep, kld_weight_at, learning_rate_at
from vgim.train.validate import Validation, validate


@dataclass(frozen=True)
class Job:
    """What to train; the same on every rank."""

    config: RunConfig
    run: str
    resume_from: str | None = None
    init_from: str | None = None


@dataclass(frozen=True)
class Worker:
    """Who trains it: this rank's place among the others and its way to the outside."""

    rank: int
    world_size: int
    device: torch.device
    reader: Reader
    report: Callable[[dict[str, float], Location], None]
    """Called by all ranks after each checkpoint with its figures and place."""


class CollapsedError(TrainingError):
    """A posterior collapsed and `objective.on_collapse=stop`; all ranks see it at one step."""


@dataclass
class Rank:
    """One rank's training, set up; `run` is the story."""

    job: Job
    worker: Worker
    config: RunConfig = field(init=False)
    manifest: Manifest = field(init=False)
    encoder: Encoder = field(init=False)
    writer: MetricsWriter | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.config = config = self.job.config
        self.run_folder = Location(self.job.run)
        shards = Location(config.data.shards)
        self.manifest = read_manifest(shards)
        self.encoder = build_encoder(config.model, config.objective, config.train.seed)
        self.encoder.check_crop(config.data.crop_samples)
        self.encoder.to(self.worker.device).train()
        self.optimizer = torch.optim.Adam(
            self.encoder.parameters(), lr=config.optim.learning_rate, fused=True
        )
        self.autocast = torch.bfloat16 if config.train.precision == "bf16" else None
        self.train_stream = self._stream(shards, "train", config.train.limit_train_batches)
        has_validation = bool(self.manifest.split("validation").utterances)
        limit = config.train.limit_validation_batches
        self.validation_stream = self._stream(shards, "validation", limit) if has_validation else None
        has_posterior = [self.encoder.module(m).posterior is not None for m in range(len(self.encoder))]
        self.watched = [m for m, has in enumerate(has_posterior) if has and config.objective.kld_weight > 0]
        self.watch = CollapseWatch(
            len(self.watched),
            config.objective.num_negatives,
            patience_steps=config.objective.collapse_patience_steps,
            start_step=config.objective.kld_warmup_steps,
        )

    def run(self) -> str:
        """Train to the end; returns a sentence on how it ended.

        Raises:
            VgimError: NotFiniteError and CollapsedError on all ranks at one step, others on this rank alone.
        """
        place, log = start_from(
            self.run_folder,
            self.encoder,
            self.optimizer,
            self.config,
            world_size=self.worker.world_size,
            data_fingerprint=self.manifest.fingerprint,
            resume_from=self.job.resume_from,
            init_from=self.job.init_from,
        )
        if self.worker.rank == 0:
            self.writer = MetricsWriter(self.run_folder, place.step)
            if place.step == 0:
                self._hparams(self.writer)
            for sentence in log:
                self.writer.event(place.step, sentence)
        try:
            return self._train(place)
        finally:
            if self.writer is not None:
                self.writer.close()

    def _train(self, place: Place) -> str:
        train = self.config.train
        step, epoch, in_epoch = place.step, place.epoch, place.step_in_epoch
        last_loss = place.validation_loss
        left = train.max_steps - step if train.max_steps else 0
        if epoch >= train.epochs or (train.max_steps and left <= 0):
            return f"nothing to do: the run is at step {step}, epoch {epoch}"
        replicas = Replicas(self.encoder, compile_modules=train.compile)
        take_step = JointStep(
            self.encoder,
            replicas,
            self.optimizer,
            seed=train.seed,
            rank=self.worker.rank,
            clip_norm=self.config.optim.clip_norm,
            autocast=self.autocast,
        )
        batches = Prefetcher(
            self.train_stream.train_batches(epoch, in_epoch, epochs=train.epochs, max_steps=left),
            depth=self.config.data.prefetch_batches,
            device=self.worker.device,
        )
        meter = Meter(self.worker.world_size * train.batch_size * train.accumulate)
        try:
            steps_in_epoch = self.train_stream.steps_in(epoch)
            while True:
                with meter.waiting() if step > place.step else meter.pausing():  # the first waits for a start
                    micro_batches = [next(batches) for _ in range(train.accumulate)]
                weight = kld_weight_at(self.config.objective, step)
                rate = learning_rate_at(self.config.optim, epoch)
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
                due = (step + 1) % train.log_every_steps == 0 or step == place.step
                with meter.computing():
                    audio = [self._audio(batch) for batch in micro_batches]
                    figures = take_step(audio, step, weight, measure=due)
                meter.add(figures)
                step, in_epoch = step + 1, in_epoch + 1
                if due:
                    record = meter.record(
                        figures,
                        step=step,
                        epoch=round(epoch + in_epoch / steps_in_epoch, 4),
                        last_step=train.max_steps or self._last_step(step, epoch, in_epoch),
                        learning_rate=rate,
                        kld_weight=weight,
                    )
                    self._log(step, record)
                ended = in_epoch >= steps_in_epoch
                if ended:
                    epoch, in_epoch = epoch + 1, 0
                done = epoch >= train.epochs or step == train.max_steps
                if done or (ended and epoch % train.validate_every_epochs == 0):
                    with meter.pausing():
                        found = self._validate(step, epoch)
                        last_loss = found.loss if found else None
                every = train.checkpoint_every_steps
                if done or (step % every == 0 if every else ended):
                    with meter.pausing():
                        self._checkpoint(Place(step, epoch, in_epoch, last_loss), weight)
                if done:
                    return f"finished at step {step}, epoch {epoch}"
                if ended:
                    steps_in_epoch = self.train_stream.steps_in(epoch)
        finally:
            batches.close()

    def _hparams(self, writer: MetricsWriter) -> None:
        keys = flatten(dump(self.config))
        chosen = {k: v for k, v in keys.items() if k.partition(".")[0] not in ("cluster", "storage")}
        metrics = ["validation/loss", *(f"validation/module{m}/nce" for m in range(len(self.encoder)))]
        writer.hparams(chosen, metrics)

    def _stream(self, shards: Location, split: str, limit: int) -> CropStream:
        train = self.config.train
        accumulate = train.accumulate if split == "train" else 1
        share = Share(self.worker.rank, self.worker.world_size, train.batch_size, accumulate, limit)
        return CropStream(
            shards,
            self.manifest,
            self.config.data,
            split=split,
            share=share,
            seed=train.seed,
            reader=self.worker.reader,
        )

    def _audio(self, batch: DeviceBatch) -> Tensor:
        mode = self.config.data.normalize
        if mode == "corpus":
            return to_float(batch.audio_BL, mode, self.manifest.corpus_mean, self.manifest.corpus_std)
        return to_float(batch.audio_BL, mode, batch.mean_B, batch.std_B)

    def _last_step(self, step: int, epoch: int, in_epoch: int) -> int:
        """The run's last step; an estimate where `tile` crops make epochs unequal."""
        return step - in_epoch + (self.config.train.epochs - epoch) * self.train_stream.steps_in(epoch)

    def _log(self, step: int, record: Record) -> None:
        if self.writer is not None:
            self.writer.train(record)
            self.writer.flush(force=False)
        if not self.watched:
            return
        watched = [record["modules"][m] for m in self.watched]
        for warning in self.watch.update(
            step, [m["nce"] for m in watched], [m["active_units"] for m in watched]
        ):
            if self.writer is not None:
                self.writer.event(step, warning.message)
            if self.config.objective.on_collapse == "stop" and warning.collapsed:
                raise CollapsedError(f"{warning.message} (objective.on_collapse=stop)")

    def _validate(self, step: int, epoch: int) -> Validation | None:
        if self.validation_stream is None:
            return None
        average_buffers(self.encoder)
        batches = Prefetcher(
            self.validation_stream.validation_batches(),
            depth=self.config.data.prefetch_batches,
            device=self.worker.device,
        )
        try:
            found = validate(
                self.encoder,
                batches,
                self._audio,
                seed=self.config.train.seed,
                rank=self.worker.rank,
                kld_weight=self.config.objective.kld_weight,
                autocast=self.autocast,
                look_at_first=partial(self._histograms, step),
            )
        finally:
            batches.close()
        if self.writer is not None:
            self.writer.validation(
                {
                    "step": step,
                    "epoch": epoch,
                    "loss": found.loss,
                    "crops": found.num_crops,
                    "modules": found.modules,
                }
            )
            self.writer.flush()
        return found

    def _histograms(self, step: int, audio_BL: Tensor) -> None:
        """Distributions of every module's means and deviations, from rank 0's first validation batch."""
        if self.writer is None:
            return
        x = audio_BL
        for m in range(len(self.encoder)):
            mean, std = self.encoder.module(m).distribution(x)
            self.writer.histogram(f"latents/module{m}/mu", mean, step)
            if std is not None:
                self.writer.histogram(f"latents/module{m}/sigma", std, step)
            x = mean

    def _checkpoint(self, place: Place, kld_weight: float) -> None:
        average_buffers(self.encoder)
        train = self.config.train
        state = TrainingState(
            step=place.step,
            epoch=place.epoch,
            step_in_epoch=place.step_in_epoch,
            world_size=self.worker.world_size,
            batch_size=train.batch_size,
            accumulate=train.accumulate,
            seed=train.seed,
            data_fingerprint=self.manifest.fingerprint,
            validation_loss=place.validation_loss,
            kld_weight=kld_weight,
            vgim_version=vgim.__version__,
            torch_version=torch.__version__,
            files={},
        )
        location = checkpoints.location_of(self.run_folder, state.step)
        if self.worker.rank == 0:
            checkpoints.save(self.run_folder, self.encoder, self.optimizer, self.config, state)
            checkpoints.prune(self.run_folder, keep_last=train.keep_last, keep_best=train.keep_best)
        figures = {"step": float(place.step), "epoch": float(place.epoch)}
        if place.validation_loss is not None:
            figures["validation_loss"] = place.validation_loss
        self.worker.report(figures, location)
