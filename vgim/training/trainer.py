"""Launches a run: claims its folder, starts its workers, prints its progress, and records how it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from vgim.claims.ticket import ClaimHeldError, ClaimLostError
from vgim.cluster.placement import Placement
from vgim.cluster.working_dir import refuse_job_folder
from vgim.config import AnyConfig, ResolvedConfig, RunConfig
from vgim.data.shards.cache import check_cache_dir, describe_cache
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.manifest import Manifest, is_complete, read_manifest
from vgim.errors import ConfigError, Interrupted, StorageError, VgimError
from vgim.logs import log_format, logs_of_run
from vgim.progress import SILENT, Progress
from vgim.runs.architecture import check_same_architecture
from vgim.runs.checkpoint import complete_checkpoints, find_checkpoint
from vgim.runs.checkpoint_scan import TO_CONTINUE, TO_LOAD
from vgim.runs.claim import TRAINING, claim_run, refuse_seen_holder
from vgim.runs.continuation import continuation
from vgim.runs.folder import RunFolder
from vgim.runs.layout import STATISTICS
from vgim.runs.litter import sweep_litter
from vgim.runs.recovery import find_recovery
from vgim.runs.restore import restore_run
from vgim.runs.stop_request import requested_stop, withdraw_stop_request
from vgim.signals import Stopped, StopSignals, name_of, signal_of, stop_signals
from vgim.storage import Location
from vgim.training.attach import attached_config, check_same_statistics, newest_checkpoint, source_of
from vgim.training.console import Console, modules_without_kl
from vgim.training.job import AnyTrainJob, TrainJob
from vgim.training.on_ray import ask_ranks_to_stop, train_on_ray
from vgim.training.progress import how_to_go_on, progress_of, remaining
from vgim.training.resumable import check_resumable, check_steps_are_left
from vgim.training.stopping import Grace

if TYPE_CHECKING:  # a launch on Ray needs no torch
    from vgim.training.learner import Learner, LearnerContext

POLL_S = 0.5
"""Seconds between two looks whether another process has prepared the shards."""


def train(
    resolved: ResolvedConfig,
    *,
    resume_from: str | None = None,
    init_from: str | None = None,
    until_epoch: int = 0,
    address: str | None = None,
    verbose: bool = False,
    placement: Placement | None = None,
    stop_folder: str | None = None,
    progress: Progress = SILENT,
) -> int:
    """Train a new run or continue an interrupted one; a finished run is left as it is.

    Args:
        resume_from: checkpoint or run to continue from if this run has no checkpoint of its own.
        init_from: checkpoint or run to load only the weights from, if this run has no checkpoint of its own.
        until_epoch: epoch before which the run pauses; 0 trains to the end.
        address: Ray cluster; None uses $RAY_ADDRESS if it is set, else starts Ray on this machine.
        verbose: let Ray log.
        placement: resources of the workers on a cluster that others use as well; None uses the whole cluster.
        stop_folder: folder besides the run's in which `stop-request.json` stops the run.
        progress: where to report what happens, how far the training is, and how it ended.

    Returns:
        The process's exit code, 0.

    Raises:
        VgimError: the error that ended the run; `run.json` holds it too.
        Interrupted: a signal or a request to stop ended the run before its end.
    """
    config = config_to_train(resolved.config, resume_from, init_from)
    job = TrainJob(
        config=config,
        run=run_location(config).uri,
        learner=greedy_learner,
        resume_from=resume_from,
        init_from=init_from,
        until_epoch=until_epoch,
        stop_folder=stop_folder,
        notes=(config.rate_note,) if config.rate_note else (),
    )
    return launch(job, address=address, verbose=verbose, placement=placement, progress=progress)


def config_to_train(config: RunConfig, resume_from: str | None, init_from: str | None) -> RunConfig:
    """The config of a training, whose depth follows from the source under `attach.run`.

    Raises:
        ConfigError: The source has other modules, or there are two sources of the first weights.
        CheckpointError: The source has no checkpoint.
    """
    if not config.attach.run:
        return config
    if resume_from is not None or init_from is not None:
        option = "--resume-from" if resume_from is not None else "--init-from"
        raise ConfigError(
            f"{option} and --attach both say where the first weights come from; leave out one of them"
        )
    return attached_config(config, run_location(config))


def greedy_learner(config: RunConfig, context: LearnerContext) -> Learner:
    """The learner of an encoder, on one rank."""
    from vgim.training.greedy import GreedyLearner

    return GreedyLearner(config, context)


def run_location(config: AnyConfig) -> Location:
    """Folder of a config's run."""
    return Location(config.storage.root).child(config.storage.name)


def launch(
    job: AnyTrainJob,
    *,
    address: str | None = None,
    verbose: bool = False,
    placement: Placement | None = None,
    prepare: Callable[[], None] = lambda: None,
    progress: Progress = SILENT,
) -> int:
    """Train a job's run, or continue it: see `train`.

    Args:
        prepare: called once the folder is claimed and before workers start, to write there what workers read.
        progress: where to report.
    """
    with stop_signals() as stop, logs_of_run(Location(job.run).name):
        job = replace(job, log_format=log_format())
        config, run = job.config, Location(job.run)
        refuse_job_folder("storage.root", config.storage.root)
        refuse_job_folder("data.shards", config.data.shards)
        check_cache_dir(config.data)
        shards = ensure_data(config, progress)
        with progress.stage("reading the shards' manifest"):
            manifest = read_manifest(shards)
            check_shards_present(shards, manifest)
        check_validation(config, shards, manifest)
        if config.data.cache_dir:
            line, holds_all = describe_cache(manifest, config.data)
            job = job if holds_all else replace(job, notes=(*job.notes, line))
        folder = RunFolder(run)
        refuse_seen_holder(run, TRAINING, None)  # nobody else may write into the folder of a live launch
        job = replace(job, notes=(*job.notes, *restore_run(run, type(config))))
        earlier = folder.check(config, manifest.fingerprint)
        is_finished = earlier is not None and earlier.state == "finished" and is_complete_run(run, config)
        if earlier is not None and is_finished and not find_recovery(run).damaged:
            for note in job.notes:
                progress.message(note)
            more = how_to_go_on(progress_of(complete_checkpoints(run)[-1].state), config)
            progress.message(f"the run {run.uri} is finished ({earlier.message}); {more} to go on")
            return 0
        check_sources(job, run, manifest)
        if job.stop_folder is not None and (number := requested_stop(Location(job.stop_folder))):
            raise Interrupted(number)  # the sweep has ended while this trial was made ready
        with claim_run(run) as claim:
            job = replace(job, claim=claim.ticket)
            return _launch_claimed(
                job, manifest.fingerprint, stop, address, verbose, placement, prepare, progress
            )


def _launch_claimed(
    job: AnyTrainJob,
    data_fingerprint: str,
    stop: StopSignals,
    address: str | None,
    verbose: bool,
    placement: Placement | None,
    prepare: Callable[[], None],
    progress: Progress,
) -> int:
    """Train in a folder that this process holds, and record how the training ended."""
    config, run = job.config, Location(job.run)
    folder = RunFolder(run)
    grace = Grace(
        stop,
        config.cluster.stop_grace_s,
        progress.message,
        None if config.cluster.workers == 0 else partial(ask_ranks_to_stop, folder),
    )
    is_lost = has_begun = False
    try:
        folder.claim(config, data_fingerprint)
        has_begun = True
        sweep_litter(run)
        progress.message(f"run folder: {run.uri}")
        progress.message(
            f"watch it with: tensorboard --logdir {config.storage.root} (curves of all modules: tab Custom Scalars)"
        )
        withdraw_stop_request(run)
        if number := max(map(requested_stop, job.stop_folders)):
            raise Stopped(number)
        prepare()
        if config.cluster.workers == 0:
            message = _train_here(job, address, stop, grace, progress)
        else:
            message = train_on_ray(
                job,
                address=address,
                verbose=verbose,
                placement=placement,
                stop=stop,
                grace=grace,
                progress=progress,
            )
        if stopped_by := _stopped_by(job, folder, stop):
            raise Stopped(stopped_by)
    except ClaimLostError:
        is_lost = True  # run.json is another process's now
        raise
    except VgimError as error:
        # On a full disk run.json cannot be written; the error itself still reaches the user.
        with suppress(StorageError):
            if has_begun and not _is_stopped(folder):
                folder.fail(error)
        raise
    except Exception as error:
        # A defect of ours keeps its traceback, and the run must not look as if it were running.
        with suppress(StorageError):  # the defect itself is what the user must see
            if has_begun and not _is_stopped(folder):
                folder.set_state("failed", f"internal error: {type(error).__name__}", type(error).__name__)
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        stop.is_ending = True
        message = _finished_or_interrupted(folder, signal_of(error), grace, progress, has_begun=has_begun)
    finally:
        stop.is_patient = False
        if not is_lost:
            with suppress(StorageError):
                withdraw_stop_request(run)
        stop.is_ending = False
    progress.message(f"{message}: {run.uri}")
    return 0


def _train_here(
    job: AnyTrainJob, address: str | None, stop: StopSignals, grace: Grace, progress: Progress
) -> str:
    """Train in this process; returns a sentence on how the run ended."""
    if address is not None:
        progress.message(f"note: the address {address} is not used: cluster.workers=0 trains in this process")
    with progress.stage("loading torch"):
        from vgim.training.in_process import train_in_process
    with grace, Console(Location(job.run), progress, without_kl=modules_without_kl(job.config)):
        return train_in_process(job, stop)


def _finished_or_interrupted(
    folder: RunFolder, signal_number: int, grace: Grace, progress: Progress, *, has_begun: bool
) -> str:
    """Record that a signal ended the launch; returns the sentence of a run that was finished before the signal.

    Args:
        has_begun: whether this launch has recorded itself: before, a finished run is that of an earlier launch.

    Raises:
        Interrupted: the run was not finished.
    """
    record = folder.record()
    if has_begun and record is not None and record.state == "finished":
        return record.message
    if record is None or record.state == "running":  # else the ranks have written how they ended
        folder.set_state("interrupted", f"stopped by {name_of(signal_number)}")
        if grace.is_over:
            progress.message(
                f"no checkpoint was written within {grace.limit}: the steps since the last one are lost"
            )
    progress.message(f"interrupted; {continuation(folder.location)}")
    raise Interrupted(signal_number) from None


def _is_stopped(folder: RunFolder) -> bool:
    """Whether a sweep has stopped this trial; it does so by removing the workers, which ends in an error here."""
    record = folder.record()
    return record is not None and record.state == "stopped"


def check_sources(job: AnyTrainJob, run: Location, manifest: Manifest) -> None:
    """Refuse `resume_from`, `init_from` and `attach.run` before workers are started, if they are of no use to the run.

    A run that has a checkpoint of its own goes on without them, also where they are gone.

    Raises:
        CheckpointError: There is no checkpoint, it is of another architecture, or a file that will be read is damaged.
        ConfigError: `resume_from` leaves nothing to train, or the modules of `attach.run` learned on audio with other
            statistics.
    """
    config = job.config
    if complete_checkpoints(run):
        return
    if job.resume_from is not None:
        checkpoint = find_checkpoint(job.resume_from)
        check_resumable(checkpoint, config)
        check_steps_are_left(checkpoint, config, manifest.fingerprint)
        checkpoint.check_files(TO_CONTINUE)
    if job.init_from is not None:
        checkpoint = find_checkpoint(job.init_from)
        check_same_architecture(checkpoint, config.architecture, type(config))
        checkpoint.check_files(TO_LOAD)
    if isinstance(config, RunConfig) and (source := source_of(config)) is not None:
        check_same_statistics(newest_checkpoint(source), config, manifest)


def _stopped_by(job: AnyTrainJob, folder: RunFolder, stop: StopSignals) -> int:
    """The signal for which the ranks stopped before the training's end; 0 if it ended or paused for no signal."""
    record = folder.record()
    if record is None or record.state != "interrupted":
        return 0
    return stop.signal or max(map(requested_stop, job.stop_folders))


def check_validation(config: AnyConfig, shards: Location, manifest: Manifest) -> None:
    """Refuse early stopping without a validation split.

    Raises:
        ConfigError: There is none.
    """
    patience = config.train.early_stop_validations
    if patience and not manifest.split("validation").utterances:
        raise ConfigError(
            f"train.early_stop_validations={patience}, but {shards.uri} has no validation split, so no validation "
            "would stop the run; set it to 0, or prepare the shards with --validation-fraction above 0"
        )


def ensure_data(config: AnyConfig, progress: Progress = SILENT) -> Location:
    """Shard folder of a config. The embedded corpus is made first if the config asks for it and it is missing."""
    shards = Location(config.data.shards)
    synthetic = config.data.synthetic
    if synthetic is not None and not is_complete(shards):
        from vgim.data.shards.embedded import prepare_embedded

        progress.message(f"making the embedded corpus in {shards.uri}")
        waiting = False
        while True:
            try:
                prepare_embedded(shards, synthetic, progress)
            except ClaimHeldError as error:
                if not waiting:
                    progress.message(f"waiting for the shards: {error}")
                waiting = True
                time.sleep(POLL_S)
            else:
                break
    return shards


def is_complete_run(run: Location, config: AnyConfig) -> bool:
    """Whether a run's last checkpoint is the end of training by this config, with whole statistics for readers."""
    checkpoints = complete_checkpoints(run)
    if not checkpoints or remaining(progress_of(checkpoints[-1].state), config):
        return False
    return checkpoints[-1].damage((STATISTICS,)) is None
