"""The work of a trial's driver process: train the run in a thread, and report its metric until it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from vgim.claims.claim import holder_seen
from vgim.claims.ticket import ClaimHeldError
from vgim.cluster.placement import Placement
from vgim.config import RunConfig
from vgim.config.load import ResolvedConfig
from vgim.errors import CheckpointError, Interrupted, StorageError
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.claim import TRAINING, refuse_seen_holder
from vgim.runs.folder import RunFolder
from vgim.runs.stop_request import requested_stop
from vgim.storage import Location
from vgim.training.progress import phases
from vgim.training.trainer import is_complete_run, train
from vgim.tune.config import MetricConfig
from vgim.tune.latent_normality import posterior_module, read_normality
from vgim.tune.trial_reports import MetricReport, TrialMonitor, read_reports
from vgim.tune.trials import Trial, TrialChain

POLL_S = 0.5
MAX_WAIT_S = 60.0
"""How long a new launch waits for the processes of the one before to end."""

OnReport = Callable[[Trial, MetricReport], None]


@dataclass(frozen=True)
class TrialContext:
    """Settings that all trials of a sweep share."""

    metric: MetricConfig
    placement: Placement | None
    """Resources of each trial's workers; None if a trial trains in its driver."""
    threads: int
    """torch threads of each worker."""
    verbose: bool = False
    stop_folder: str | None = None
    """Folder of the sweep, where a request to stop ends all trials; None for trials outside of a sweep."""

    def raise_if_stopped(self) -> None:
        """Raise Interrupted if the sweep is asked to stop, so that no further trial begins."""
        number = requested_stop(Location(self.stop_folder)) if self.stop_folder is not None else 0
        if number:
            raise Interrupted(number)


def run_chain(chain: TrialChain, context: TrialContext, on_report: OnReport) -> None:
    """Train the trials of a chain, or continue them; each starts from the weights of the one before.

    Raises:
        VgimError: the error that ended a trial; the trials after it are not started.
    """
    torch.set_num_threads(context.threads)  # for the probes in this process; workers set their own
    previous: Trial | None = None
    for trial in chain.trials:
        run_trial(trial, previous, context, on_report)
        previous = trial


def run_trial(trial: Trial, previous: Trial | None, context: TrialContext, on_report: OnReport) -> None:
    """Train one trial and report its metric as it comes; a trial that has ended reports from its folder.

    Args:
        previous: the trial whose weights this one starts from; None for a trial that starts afresh.
    """
    context.raise_if_stopped()
    monitor = TrialMonitor(trial.run, trial.config, context.metric)
    if not has_ended(trial):
        wait_for_previous_launch(trial)
        training = _Training(trial, previous, context)
        training.thread.start()
        while training.thread.is_alive():
            training.thread.join(POLL_S)
            for report in _new_reports(monitor):
                # The last report waits for the run's end: a scheduler must not stop a run that is about to finish.
                if report.epoch < num_epochs(trial):
                    on_report(trial, report)
                else:
                    monitor.put_back(report)
        if training.error is not None:
            raise training.error
    for report in monitor.new_reports(ended=True):
        on_report(trial, report)


def has_ended(trial: Trial) -> bool:
    """Whether nothing of a trial is left to train: the sweep stopped it, or it has trained all that its config asks."""
    record = RunFolder(trial.run).readable_record()
    if record is None:
        return False
    return record.state == "stopped" or (
        record.state == "finished" and is_complete_run(trial.run, trial.config)
    )


def has_final_report(trial: Trial, metric: MetricConfig) -> bool:
    """Whether a trial's last weights were measured; a launch may have ended before that."""
    reports, checkpoints = read_reports(trial.run, trial.config, metric), complete_checkpoints(trial.run)
    if not reports or not checkpoints:
        return bool(reports)
    last_step, record = checkpoints[-1].state.step, RunFolder(trial.run).record()
    if (
        record is not None
        and record.state == "finished"
        and posterior_module(trial.config, metric) is not None
    ):
        measured = read_normality(trial.run, trial.config, metric)
        if all(normality.step != last_step for normality in measured):
            return False
    return metric.kind != "probe" or reports[-1].step == last_step


def num_epochs(trial: Trial) -> int:
    """Epochs over all phases of a trial's schedule."""
    return sum(phase.epochs for phase in phases(trial.config))


def _new_reports(monitor: TrialMonitor) -> list[MetricReport]:
    try:
        return list(monitor.new_reports(ended=False))
    except (CheckpointError, StorageError):
        return []  # A storage error that passes must not end the trial; the next poll tries again.


class _Training:
    """The training of a trial's run, in a thread of its own, and the error that ended it.

    The thread is a daemon: it ends with the driver's process, which Tune may end.
    """

    def __init__(self, trial: Trial, previous: Trial | None, context: TrialContext) -> None:
        self._trial, self._previous, self._context = trial, previous, context
        self.thread = threading.Thread(target=self._run, name=trial.id, daemon=True)
        self.error: BaseException | None = None

    def _run(self) -> None:
        try:
            train(
                launchable_config(self._trial.config, self._context),
                resume_from=self._previous.run.uri if self._previous is not None else None,
                verbose=self._context.verbose,
                placement=self._context.placement,
                stop_folder=self._context.stop_folder,
                progress=MessagesOnly(print),  # in the trial's own log
            )
        except BaseException as error:
            self.error = error


def launchable_config(config: RunConfig, context: TrialContext) -> ResolvedConfig:
    """A trial's config with the number of threads that the sweep gives to each worker."""
    cluster = config.cluster.model_copy(update={"threads_per_worker": context.threads})
    return ResolvedConfig(config.model_copy(update={"cluster": cluster}), {}, "")


def wait_for_previous_launch(trial: Trial) -> None:
    """Wait, up to MAX_WAIT_S, until no process on this machine that an earlier launch started trains the run.

    Tune may start a trial again before the process that it stopped has ended. Workers of a process that was killed
    live for some seconds more, but write no checkpoint after the run has been claimed again.
    """
    deadline = time.monotonic() + MAX_WAIT_S
    while time.monotonic() < deadline:
        record = RunFolder(trial.run).readable_record()
        try:
            if holder_seen(trial.run) is not None:  # another thread of this process among them
                raise ClaimHeldError
            refuse_seen_holder(trial.run, TRAINING, None if record is None else record.driver)
        except ClaimHeldError:
            time.sleep(POLL_S)
        else:
            return
