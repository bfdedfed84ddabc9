"""The training loop of each rank. It knows torch.distributed but not Ray, which its caller wraps in a `Worker`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from torch import Tensor

from vgim.claims.ticket import ClaimLostError, TicketWatch
from vgim.config import AnyConfig
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import State
from vgim.runs.hparams import hyperparameters
from vgim.runs.keep import is_kept_for_good
from vgim.runs.layout import STATISTICS, WEIGHTS
from vgim.runs.metrics import MetricsRecord
from vgim.runs.metrics_writer import Event, MetricsWriter
from vgim.runs.weights import checkpoint_tensors
from vgim.schedules.schedule import Phase, Schedule
from vgim.signals import name_of
from vgim.storage import Location
from vgim.training.accumulator import MetricsAccumulator
from vgim.training.agreement import Agreement, Wishes
from vgim.training.attachment import Attachment
from vgim.training.checkpoint_clock import CheckpointClock
from vgim.training.checkpoints import RankCheckpoints, training_state
from vgim.training.clean_statistics import are_of_other_audio, clean_statistics, complete_for_readers
from vgim.training.ddp import average_buffers, averaged_buffers
from vgim.training.depth_resume import shallower_run, writer_with_history
from vgim.training.errors import CollapsedError
from vgim.training.initialize import initialize
from vgim.training.job import AnyTrainJob
from vgim.training.launch_events import NO_VALIDATION, launch_events
from vgim.training.learner import Learner, LearnerContext, Worker
from vgim.training.memory import out_of_memory_as_error
from vgim.training.progress import Progress, is_done, last_step, remaining, schedule_of
from vgim.training.rank_batches import RankBatches
from vgim.training.share import Share, share_of_world
from vgim.training.stages.rank import StageRank, stage_rank
from vgim.training.step import learning_rate_at
from vgim.training.torch_gpu import make_current


@dataclass
class RankTrainer:
    """The training of one rank: `run` trains to the end."""

    job: AnyTrainJob
    worker: Worker
    config: AnyConfig = field(init=False)
    schedule: Schedule = field(init=False)
    manifest: Manifest = field(init=False)
    learner: Learner = field(init=False)
    share: Share = field(init=False)
    """The virtual ranks whose work this rank does."""
    stages: StageRank | None = field(init=False, default=None)
    """This rank's place among the stages, under a schedule that has stages."""
    batches: RankBatches = field(init=False)
    writer: MetricsWriter | None = field(init=False, default=None)
    state: State = field(init=False, default="running")
    """State after `run`: finished, or interrupted if the run paused or was stopped."""
    _agreement: Agreement = field(init=False)
    _attachment: Attachment = field(init=False)
    _clock: CheckpointClock = field(init=False)
    _stopped_by: int = field(init=False, default=0)
    """The signal for which all ranks stop; 0 while they go on."""
    _checkpoints: RankCheckpoints = field(init=False)
    _watch: TicketWatch | None = field(init=False, default=None)
    """Watches the claim of the run's folder, on the rank that saves."""

    def __post_init__(self) -> None:
        self.config = config = self.job.config
        make_current(self.worker.device)
        self.schedule = schedule_of(config)
        self.run_folder = Location(self.job.run)
        self.manifest = read_manifest(config.data.shards)
        with out_of_memory_as_error():
            self.learner = self.job.build_learner(LearnerContext(self.run_folder, self.worker, self.manifest))
        self.share = share_of_world(config, self.worker.group)
        if self.schedule.has_stages:
            self.stages = stage_rank(self.job, self.worker, self.learner.network, self.share.num_virtual)
            self.share = self.stages.share
        self.batches = RankBatches(config, self.manifest, self.worker, self.share, self.stages)

    def run(self) -> str:
        """Train to the end.

        Returns:
            A sentence on how the run ended.

        Raises:
            VgimError: NotFiniteError and CollapsedError on all ranks at the same step, others on this rank alone.
        """
        with out_of_memory_as_error():
            return self._run()

    def _run(self) -> str:
        progress = self._begin()
        try:
            for phase in remaining(progress, self.config):
                if self._stopped_by or self._pauses_at(progress):
                    break
                if phase.number > progress.phase:
                    progress = progress.in_next_phase()
                began_at = progress.step - progress.phase_step
                if (message := self.schedule.phase_message(phase, began_at)) is not None:
                    self._log_event(progress, message)
                progress = self._train(phase, progress)
            self._agreement.close()
            if self.stages is not None:
                self.stages.reports.finish()
            self._checkpoints.finish()
            if remaining(progress, self.config):
                self.state = "interrupted"
                how = f"stopped by {name_of(self._stopped_by)}" if self._stopped_by else "paused"
                return f"{how} at step {progress.step}, epoch {progress.epoch}"
            if self.worker.group.saves:
                complete_for_readers(
                    self.run_folder, progress.step, self.config, self.batches, self.job.check_claim
                )
            if self.writer is not None:
                self.writer.end_session(failed=False)
        except ClaimLostError:
            self._checkpoints.abandon()
            if self.writer is not None:
                self.writer.discard()
                self.writer = None
            raise
        except Exception:
            if self.writer is not None:
                self.writer.end_session(failed=True)
            raise
        finally:
            self._close(progress)
        self.state = "finished"
        return f"finished at step {progress.step}, epoch {progress.epoch}"

    def _begin(self) -> Progress:
        """Load weights and optimizer, and start what watches, writes and agrees; returns where training begins."""
        shallower = shallower_run(self.run_folder, self.job.resume_from, self.config)
        is_new = self.worker.group.saves and not complete_checkpoints(self.run_folder)
        progress, log = initialize(
            self.run_folder,
            self.learner.network,
            self.learner.optimizer,
            self.config,
            world_size=self.share.num_virtual,
            data_fingerprint=self.manifest.fingerprint,
            resume_from=self.job.resume_from,
            init_from=self.job.init_from,
            group=self.worker.group,
            buffers_of=self.share.group,
        )
        progress = progress.within(self.batches.steps_in(progress.epoch))
        self._agreement = Agreement(self.worker.group, lag=1 if self.stages is None else self.stages.lag)
        self._clock = CheckpointClock(self.config.train.checkpoint_every_minutes)
        if self.worker.group.saves:
            self.writer = self._begin_metrics(progress, shallower, log, is_new=is_new)
            if self.job.claim is not None:
                self._watch = TicketWatch(self.job.claim)
        self._checkpoints = RankCheckpoints(
            self.run_folder,
            self.worker,
            self.config,
            self.writer,
            # Other members of a population may still copy the checkpoint.
            check_claim=self.job.check_claim,
            keep_step=progress.step if self.job.until_epoch else None,
        )
        self._attachment = Attachment(self.config, self.learner.network, self.worker.group, progress)
        return progress

    def _begin_metrics(
        self, progress: Progress, shallower: Location | None, log: Sequence[Event], *, is_new: bool
    ) -> MetricsWriter:
        """The run's metrics from `progress` on, with the events of this start."""
        if shallower is not None:
            writer = writer_with_history(self.run_folder, shallower, progress.step)
        else:
            writer = MetricsWriter(self.run_folder, progress.step)
        events = list(log)
        if progress.step == 0 or is_new:
            writer.hparams(hyperparameters(self.config), self.learner.hparams_metrics)
            events += [Event(f"warning: {warning}") for warning in self.learner.warnings()]
        events += [Event(warning) for warning in self.learner.slowed_by(self.worker.device)]
        if not self.batches.validation_streams:
            events.append(Event(NO_VALIDATION))
        events += [Event(line) for line in self.batches.left_out()]
        for event in [*launch_events(self.job, self.worker, self.share, self.stages), *events]:
            writer.event(progress.step, event)
        return writer

    def _pauses_at(self, progress: Progress) -> bool:
        return progress.step_in_epoch == 0 and 0 < self.job.until_epoch <= progress.epoch

    def _train(self, phase: Phase, progress: Progress) -> Progress:
        """Train a phase from `progress` to its end, or to where the run pauses."""
        train, learner, stages = self.config.train, self.learner, self.stages
        link = None if stages is None else stages.link
        own = self._own_part(phase)
        learner.begin_phase(own, progress, self.share, link)
        batches_by_rank = self.batches.of_phase(phase, progress)
        crops_per_step = self.share.num_virtual * train.batch_size * train.accumulate
        accumulator = MetricsAccumulator(
            own.modules, self.share, crops_per_step, learner.mean_metrics, learner.latest_metrics
        )
        first_step = progress.step
        try:
            while True:
                steps_in_epoch = self.batches.steps_in(progress.epoch)
                started = progress.step > first_step
                # The first batch waits for the stream to start; that time belongs to no step.
                with accumulator.time_data_wait() if started else accumulator.exclude_time():
                    micro_batches = [
                        next(batches) for batches in batches_by_rank for _ in range(train.accumulate)
                    ]
                rate = learning_rate_at(self.config.optim, progress.phase_epoch)
                for parameters in learner.optimizer.param_groups:
                    parameters["lr"] = rate
                due = (
                    (progress.step + 1) % train.log_every_steps == 0
                    or not started
                    or progress.step + 1 == last_step(progress, phase, train, steps_in_epoch)
                )
                with accumulator.time_compute():
                    inputs: Sequence[Tensor] = [self.batches.audio(batch) for batch in micro_batches]
                    if stages is not None and not self.batches.reads_audio:
                        inputs = stages.link.inputs(train.batch_size)
                    metrics = learner.step(inputs, progress, measure=due)
                accumulator.add(metrics)
                before = progress
                progress = replace(progress.after_step(steps_in_epoch), kl_weights=learner.kl_weights)
                if due:
                    record = accumulator.record(
                        metrics,
                        step=progress.step,
                        epoch=round(progress.epoch + progress.step_in_epoch / steps_in_epoch, 4),
                        last_step=last_step(progress, phase, train, steps_in_epoch),
                        learning_rate=rate,
                        device=self.worker.device_name,
                        **learner.step_hyperparameters(before),
                        **self._attachment.figures(),
                    )
                    self._log(record, progress)
                with accumulator.exclude_time():
                    progress, done = self._between_steps(phase, progress)
                if done:
                    if stages is not None:
                        stages.link.settle()
                    return progress
        finally:
            for batches in batches_by_rank:
                batches.close()

    def _own_part(self, phase: Phase) -> Phase:
        """A phase with the modules that this rank trains."""
        return phase if self.stages is None else replace(phase, modules=self.stages.mesh.stage.modules)

    def _between_steps(self, phase: Phase, progress: Progress) -> tuple[Progress, bool]:
        """Validate and write a checkpoint if they are due; also returns whether the phase ends or the run pauses."""
        self.worker.on_step(progress.step)
        agreed = self._agreement.exchange(self._wishes(progress))
        self._checkpoints.report(agreed.written_step)
        self._stopped_by = agreed.stop_signal
        progress = self._attachment.follow(agreed.source_step, progress, self._log_event)
        train = self.config.train
        epoch_ended, done = progress.step_in_epoch == 0, is_done(progress, phase, train)
        if done or (epoch_ended and progress.phase_epoch % train.validate_every_epochs == 0):
            progress = self._validate(phase, progress)
            done = is_done(progress, phase, train)  # early stopping may have ended the phase
        done = done or self._pauses_at(progress) or self._stopped_by > 0
        every = train.checkpoint_every_steps
        if (
            done
            or self._is_kept(progress)
            or agreed.checkpoint
            or (progress.step % every == 0 if every else epoch_ended)
        ):
            self._checkpoint(progress)
        return progress, done

    def _log_event(self, progress: Progress, message: str) -> None:
        if self.writer is not None:
            self.writer.event(progress.step, Event(message))

    def _log(self, record: MetricsRecord, progress: Progress) -> None:
        said: list[str] = []
        collapsed: CollapsedError | None = None
        try:
            self.learner.check_record(record, progress, said.append)
        except CollapsedError as error:  # raised once the record of its step is written
            collapsed = error
        if self.stages is not None:
            record, said = self.stages.whole_record(record, said)
        if self.writer is not None:
            self.writer.train(record)
            self.writer.flush(force=False)
            self.worker.on_record("train", record)
        for message in said:
            self._log_event(progress, message)
        if collapsed is not None:
            raise collapsed

    def _validate(self, phase: Phase, progress: Progress) -> Progress:
        # Without validation too: a later phase reads the modules of this one, frozen, on every rank.
        average_buffers(self.learner.network, self.share)
        if not self.batches.validation_streams:
            return progress
        if self.stages is not None:
            self.stages.link.settle()
        with closing(self.batches.of_validation()) as batches:
            validation = self.learner.validate(self._own_part(phase), progress, batches, self.writer)
        if self.stages is not None:
            validation = self.stages.whole_validation(validation)
        if self.writer is not None:
            record = {
                "step": progress.step,
                "epoch": progress.epoch,
                "loss": validation.loss,
                "crops": validation.num_crops,
                "modules": validation.modules,
            }
            self.writer.validation(record)
            for tag, histogram in validation.histograms.items():
                self.writer.histogram(tag, histogram, progress.step)
            self.writer.flush()
            self.worker.on_record("validation", record)
        return progress.after_validation(validation.loss)

    def _checkpoint(self, progress: Progress) -> None:
        """Write a checkpoint; all ranks call it at the same step."""
        self._clock.restart()
        network, optimizer, owns = self.learner.network, self.learner.optimizer, self._owns
        with averaged_buffers(network, self.share, owns) as buffers_of_ranks:
            tensors: Mapping[str, Mapping[str, Tensor]] = checkpoint_tensors(
                network, optimizer, buffers_of_ranks, owns
            )
            if self.stages is not None:
                tensors, progress = self.stages.whole_checkpoint(tensors, progress)
            if self.worker.group.saves and self._is_for_readers(progress):
                tensors = {
                    **tensors,
                    STATISTICS: clean_statistics(self.config, tensors[WEIGHTS], self.batches),
                }
            state = training_state(progress, self.config, self.manifest, self.share)
            self._checkpoints.write(progress, state, tensors)

    def _is_kept(self, progress: Progress) -> bool:
        return is_kept_for_good(progress.step_in_epoch, progress.epoch, self.config.train.keep_every_epochs)

    def _is_for_readers(self, progress: Progress) -> bool:
        """Whether a checkpoint stays, and its readers need other statistics than training has."""
        stays = self._is_kept(progress) or not remaining(progress, self.config)
        return stays and are_of_other_audio(self.config)

    def _owns(self, name: str) -> bool:
        """Whether this rank trains the parameter or buffer of a name."""
        return self.stages is None or self.stages.owns(name)

    def _wishes(self, progress: Progress) -> Wishes:
        """What this rank asks of all ranks at a step boundary; the rank that saves asks for all of them.

        Raises:
            StorageError: a checkpoint could not be written, which ends the run.
            ClaimLostError: another launch has taken over the run's folder.
        """
        if self._watch is not None:
            self._watch.raise_if_lost()
        if not self.worker.group.saves:
            return Wishes()
        if notice := self.worker.notice():
            self._log_event(progress, notice)
        is_due, written = bool(notice) or self._clock.is_due(), self._checkpoints.written_step
        return Wishes(self.worker.stop_asked(), is_due, written, source_step=self._attachment.ready_step)

    def _close(self, progress: Progress) -> None:
        if self._watch is not None:
            self._watch.close()
        self._attachment.close()
        self._checkpoints.close(progress)
        if self.writer is not None:
            self.writer.close()
