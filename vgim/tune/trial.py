"""What runs in a trial's driver: a run is trained in a thread, and followed, until it ends or the sweep stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from vgim.cluster.connect import Placement
from vgim.config import RunConfig
from vgim.config.load import ResolvedConfig
from vgim.errors import CheckpointError, StorageError
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder, is_alive
from vgim.train.schedule import phases
from vgim.train.trainer import is_complete_run, train
from vgim.tune.config import MetricConfig
from vgim.tune.plan import Chain, Trial
from vgim.tune.trial_reports import Follower, Report, reports

POLL_SECONDS = 0.5
LEAVE_SECONDS = 60.0

Tell = Callable[[Trial, Report], None]


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep share."""

    metric: MetricConfig
    placement: Placement | None
    threads: int
    verbose: bool = False


def run_chain(chain: Chain, setting: TrialContext, tell: Tell) -> None:
    """Train the trials of a chain, or go on with them; each starts where the one before ended.

    Raises:
        VgimError: what ended a trial; those behind it in the chain are not started.
    """
    torch.set_num_threads(setting.threads)  # of the probes; workers set their own
    before: Trial | None = None
    for trial in chain.trials:
        run_trial(trial, before, setting, tell)
        before = trial


def run_trial(trial: Trial, before: Trial | None, setting: TrialContext, tell: Tell) -> None:
    """Train one trial and tell its metric as it comes. One that has ended tells what it told before."""
    follower = Follower(trial.run, trial.config, setting.metric)
    if not has_ended(trial):
        wait_for_the_launch_before(trial)
        training = _Training(trial, before, setting)
        training.start()
        while training.is_alive():
            training.join(POLL_SECONDS)
            for report in _patient(follower, ended=False):
                # The last report waits for the run's end: a scheduler must not stop a run that is about to finish.
                if report.epoch < epochs_of(trial):
                    tell(trial, report)
                else:
                    follower.take_back(report)
        if training.error is not None:
            raise training.error
    for report in follower.new_reports(ended=True):
        tell(trial, report)


def has_ended(trial: Trial) -> bool:
    """Whether nothing of a trial is left: it was stopped, or has finished all that its config now asks for."""
    record = RunFolder(trial.run).record()
    if record is None:
        return False
    return record.state == "stopped" or (
        record.state == "finished" and is_complete_run(trial.run, trial.config)
    )


def has_told(trial: Trial, metric: MetricConfig) -> bool:
    """Whether the metric of the weights that a trial ended with is known: a probe may have been cut off."""
    told, checkpoints = reports(trial.run, trial.config, metric), complete_checkpoints(trial.run)
    if metric.kind == "probe" and told and checkpoints:
        return told[-1].step == checkpoints[-1].state.step
    return bool(told)


def epochs_of(trial: Trial) -> int:
    """Epochs over all phases of a trial's schedule."""
    return sum(phase.epochs for phase in phases(trial.config))


def _patient(follower: Follower, *, ended: bool) -> list[Report]:
    try:
        return list(follower.new_reports(ended=ended))
    except (CheckpointError, StorageError):
        return []  # storage that stutters must not end the trial; the next look may succeed


class _Training(threading.Thread):
    """The run itself. A daemon: when Tune ends the driver's process, it ends too."""

    def __init__(self, trial: Trial, before: Trial | None, setting: TrialContext) -> None:
        super().__init__(name=trial.id, daemon=True)
        self._trial, self._before, self._setting = trial, before, setting
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            train(
                launchable(self._trial.config, self._setting),
                resume_from=self._before.run.uri if self._before is not None else None,
                verbose=self._setting.verbose,
                placement=self._setting.placement,
            )
        except BaseException as error:
            self.error = error


def launchable(config: RunConfig, setting: TrialContext) -> ResolvedConfig:
    """A trial's config with the threads that its workers get."""
    cluster = config.cluster.model_copy(update={"threads_per_worker": setting.threads})
    return ResolvedConfig(config.model_copy(update={"cluster": cluster}), {}, "")


def wait_for_the_launch_before(trial: Trial) -> None:
    """A driver that was killed leaves processes that notice a little later; the run is theirs until then."""
    deadline = time.monotonic() + LEAVE_SECONDS
    record = RunFolder(trial.run).record()
    while (
        record is not None and record.state == "running" and is_alive(record) and time.monotonic() < deadline
    ):
        time.sleep(POLL_SECONDS)
