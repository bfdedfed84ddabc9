"""The work of a population member's driver: train interval by interval, with a report to the scheduler after each.

The scheduler may end the process during any report, and start the member again: with its own values and checkpoint, or
with those of a better member.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from vgim.config import blocking_difference, to_yaml
from vgim.errors import CheckpointError, ConfigError, StorageError, VgimError
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint import (
    Checkpoint,
    checkpoint_location,
    complete_checkpoints,
    newest_whole_checkpoint,
)
from vgim.runs.checkpoint_scan import TO_CONTINUE, scan_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.layout import CONFIG, LINEAGE
from vgim.storage import Location
from vgim.training.trainer import train
from vgim.tune.config import MetricConfig
from vgim.tune.pbt_exploit import exploit, finish_takeover, start_lineage
from vgim.tune.pbt_lineage import with_current_values
from vgim.tune.space import Values
from vgim.tune.trial_driver import (
    TrialContext,
    has_ended,
    launchable_config,
    num_epochs,
    wait_for_previous_launch,
)
from vgim.tune.trial_reports import MetricReport, TrialMonitor, read_reports
from vgim.tune.trials import Trial, with_values


@dataclass(frozen=True)
class CheckpointRef:
    """The run and step of a checkpoint, as Tune passes it from one member to another."""

    run: str
    step: int


@dataclass(frozen=True)
class IntervalReport:
    """A member's message to the scheduler after an interval, or after it exploited another member."""

    metric: MetricReport | None
    """Metric at the interval's end; the worst value if training failed, so that the scheduler replaces the weights.
    None after an exploitation, which trains nothing."""
    checkpoint: CheckpointRef | None
    """The member's newest checkpoint; None if it has none."""
    message: str = ""
    """Sentence on an exploitation: the source and the changed values."""


def run_member(
    member: Trial,
    values: Values,
    context: TrialContext,
    interval: int,
    on_report: Callable[[IntervalReport], None],
    checkpoint: CheckpointRef | None,
    first_comparison: int = 0,
    decided_epoch: int = 0,
) -> None:
    """Train a member to its end in intervals of `interval` epochs, or continue it.

    Args:
        values: the values that the scheduler has chosen for the steps from here on.
        on_report: sends a report. It does not return if the scheduler pauses or replaces the member. The last interval
            is not reported.
        checkpoint: the checkpoint that the scheduler has chosen to continue from; another member's is exploited. None
            if the scheduler has no report of this member yet.
        first_comparison: epoch of the scheduler's first comparison. A member that fails earlier reports this epoch,
            because the others wait for it there.
        decided_epoch: epoch of the last comparison of an earlier launch, which is not reported again.

    Raises:
        VgimError: the error that ended the member, if the scheduler did not replace its weights.
    """
    torch.set_num_threads(context.threads)  # for the probes in this process; workers set their own
    context.raise_if_stopped()
    member = with_values(member, values)
    wait_for_previous_launch(member)
    finish_takeover(member.run)
    _restore_config(member)
    takes_over = checkpoint is not None and checkpoint.run != member.run.uri
    if checkpoint is not None and takes_over:
        message = exploit(member.run, _open_or_newest(checkpoint), member.config, list(values))
        on_report(IntervalReport(None, _newest_ref(member), message))
    elif not _has_checkpoints(member.run):
        start_lineage(member.run, member.config, list(values))
    monitor = TrialMonitor(member.run, member.config, context.metric)
    newest = _newest(member)
    is_decided = newest is not None and newest.state.epoch <= decided_epoch
    # A driver that was lost between a checkpoint and its report comes back with the checkpoint of the report before.
    is_known = checkpoint is not None and (
        takes_over or newest is None or newest.state.step <= checkpoint.step
    )
    reported = newest if is_known or is_decided else None
    while not has_ended(member):
        newest = _newest(member)
        # An interruption leaves a checkpoint within an interval, which is not measured: an undisturbed run has none.
        if newest is not None and newest != reported and _ends_an_interval(newest, interval):
            list(monitor.new_reports(ended=True))  # probes and measures the newest checkpoint
            reported = newest
            on_report(IntervalReport(_metric_at(member, newest, context.metric), _newest_ref(member)))
        until = _next_end(newest, interval)
        try:
            train(
                launchable_config(member.config, context),
                until_epoch=until,
                verbose=context.verbose,
                placement=context.placement,
                stop_folder=context.stop_folder,
                progress=MessagesOnly(print),  # in the member's own log
            )
        except VgimError:
            if until < num_epochs(member):
                failed = MetricReport(0, max(until, first_comparison), worst_value(context.metric))
                on_report(IntervalReport(failed, _newest_ref(member)))
            raise
    list(monitor.new_reports(ended=True))


def first_comparison_epoch(members: Sequence[Trial], interval: int, decided_epoch: int = 0) -> int:
    """The epoch of the first comparison that no member has passed, after the comparison of `decided_epoch`."""
    epochs = [interval, (decided_epoch // interval + 1) * interval]
    for member in members:
        newest = _newest(member)
        if newest is not None and not has_ended(member):
            epoch = newest.state.epoch if _ends_an_interval(newest, interval) else _next_end(newest, interval)
            epochs += [epoch] if epoch < num_epochs(member) else []
    return max(epochs)


def worst_value(metric: MetricConfig) -> float:
    """The value that loses against every other, for a member without a metric."""
    return math.inf if metric.mode == "min" else -math.inf


def _ends_an_interval(checkpoint: Checkpoint, interval: int) -> bool:
    return checkpoint.state.step_in_epoch == 0 and checkpoint.state.epoch % interval == 0


def _next_end(checkpoint: Checkpoint | None, interval: int) -> int:
    """The epoch at which the interval after a checkpoint ends."""
    return ((0 if checkpoint is None else checkpoint.state.epoch) // interval + 1) * interval


def _metric_at(member: Trial, newest: Checkpoint, metric: MetricConfig) -> MetricReport:
    state = newest.state
    reports = [r for r in read_reports(member.run, member.config, metric) if r.step == state.step]
    return reports[-1] if reports else MetricReport(state.step, state.epoch, worst_value(metric))


def _newest(member: Trial) -> Checkpoint | None:
    checkpoints = complete_checkpoints(member.run)
    return checkpoints[-1] if checkpoints else None


def _newest_ref(member: Trial) -> CheckpointRef | None:
    newest = _newest(member)
    return None if newest is None else CheckpointRef(member.run.uri, newest.state.step)


def _open_or_newest(checkpoint: CheckpointRef) -> Checkpoint:
    """The referenced checkpoint if it is whole, or else the run's newest whole one."""
    run = Location(checkpoint.run)
    try:
        opened = Checkpoint.open(checkpoint_location(run, checkpoint.step))
        opened.check_files(TO_CONTINUE)
        return opened
    except CheckpointError:
        newest = newest_whole_checkpoint(run)
        if newest is None:
            raise
        return newest


def _has_checkpoints(run: Location) -> bool:
    """Whether a run has a checkpoint, whole or damaged."""
    scan = scan_checkpoints(run)
    return bool(scan.readable or scan.damaged)


def _restore_config(member: Trial) -> None:
    """Write a lost or damaged `config.yaml` of a member anew, with the values of its lineage."""
    folder = RunFolder(member.run)
    if not member.run.child(LINEAGE).exists():
        return
    try:
        before = folder.config()
    except (ConfigError, StorageError):
        member.run.child(CONFIG).read_bytes()  # storage that cannot be read is no damage
        before = None
    current = with_current_values(member)
    if before is None or blocking_difference(before, current.config):
        member.run.child(CONFIG).write_bytes_atomic(to_yaml(current.config).encode())
