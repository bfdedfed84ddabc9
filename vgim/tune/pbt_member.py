"""What runs in the driver of a population's member: training in legs, with a report to the scheduler after each.

The scheduler may end the process in any report, and start the member again: with its own values and checkpoint, or with
those of a better one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from vgim.errors import CheckpointError, VgimError
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints, find, location_of
from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.train.trainer import train
from vgim.tune.config import MetricConfig
from vgim.tune.pbt_exploit import start_lineage, take_over, values_of
from vgim.tune.plan import Trial, with_values
from vgim.tune.space import Values
from vgim.tune.trial import TrialContext, epochs_of, has_ended, launchable, wait_for_the_launch_before
from vgim.tune.trial_reports import Follower, Report, reports


@dataclass(frozen=True)
class CheckpointRef:
    """A checkpoint as members hand it to each other through Tune: where it lies."""

    run: str
    step: int


@dataclass(frozen=True)
class IntervalReport:
    """What a member tells after a leg."""

    report: Report | None
    """The worst metric there is where the leg failed, so that another's weights are taken; None after a takeover, which
    is no leg."""
    handed: CheckpointRef | None
    """Its newest checkpoint; None if it has none."""
    says: str = ""
    """What it has taken over."""


def run_member(
    member: Trial,
    values: Values,
    setting: TrialContext,
    interval: int,
    tell: Callable[[IntervalReport], None],
    handed: CheckpointRef | None,
    first: int = 0,
) -> None:
    """Train a member to its end in legs of `interval` epochs, or go on with it.

    Args:
        values: what the scheduler wants it to be trained with from here on.
        tell: may not return, where the scheduler does not let the member go on as it is. The last leg is not told.
        handed: what the scheduler wants it to go on from; another's checkpoint is taken over. None where it has not
            heard of this member yet.
        first: epoch of the scheduler's first comparison, for which a member that fails before it waits.

    Raises:
        VgimError: what ended it, and was not cured by another's weights.
    """
    torch.set_num_threads(setting.threads)  # of the probes; workers set their own
    member = with_values(member, values)
    wait_for_the_launch_before(member)
    if handed is not None and handed.run != member.run.uri:
        says = take_over(member.run, _given(handed), member.config, list(values))
        tell(IntervalReport(None, _handed(member), says))
    elif not complete_checkpoints(member.run):
        start_lineage(member.run, member.config, list(values))
    follower = Follower(member.run, member.config, setting.metric)
    newest = _newest(member)
    told = newest if handed is not None else None
    while not has_ended(member):
        list(follower.new_reports(ended=True))  # takes the probes that are due
        newest = _newest(member)
        if newest is not None and newest != told and _ends_a_leg(newest, interval):
            told = newest
            tell(IntervalReport(_report(member, newest, setting.metric), _handed(member)))
        until = _next_end(newest, interval)
        try:
            train(
                launchable(member.config, setting),
                until_epoch=until,
                verbose=setting.verbose,
                placement=setting.placement,
            )
        except VgimError:
            if until < epochs_of(member):
                tell(IntervalReport(Report(0, max(until, first), worst(setting.metric)), _handed(member)))
            raise
    list(follower.new_reports(ended=True))


def first_comparison(members: Sequence[Trial], interval: int) -> int:
    """The epoch of the first comparison that none of the members has passed."""
    ahead = [interval]
    for member in members:
        newest = _newest(member)
        if newest is not None and not has_ended(member):
            at = newest.state.epoch if _ends_a_leg(newest, interval) else _next_end(newest, interval)
            ahead += [at] if at < epochs_of(member) else []
    return max(ahead)


def present(member: Trial) -> Trial:
    """A member with the values that its run has now."""
    config = RunFolder(member.run).config()
    return member if config is None else with_values(member, values_of(config, member.values))


def worst(metric: MetricConfig) -> float:
    """The metric of a member that has none."""
    return math.inf if metric.mode == "min" else -math.inf


def _ends_a_leg(checkpoint: Checkpoint, interval: int) -> bool:
    return checkpoint.state.step_in_epoch == 0 and checkpoint.state.epoch % interval == 0


def _next_end(checkpoint: Checkpoint | None, interval: int) -> int:
    """The epoch at which the leg behind a checkpoint ends."""
    return ((0 if checkpoint is None else checkpoint.state.epoch) // interval + 1) * interval


def _report(member: Trial, newest: Checkpoint, metric: MetricConfig) -> Report:
    state = newest.state
    found = [r for r in reports(member.run, member.config, metric) if r.step == state.step]
    return found[-1] if found else Report(state.step, state.epoch, worst(metric))


def _newest(member: Trial) -> Checkpoint | None:
    found = complete_checkpoints(member.run)
    return found[-1] if found else None


def _handed(member: Trial) -> CheckpointRef | None:
    newest = _newest(member)
    return None if newest is None else CheckpointRef(member.run.uri, newest.state.step)


def _given(handed: CheckpointRef) -> Checkpoint:
    """The checkpoint that was handed over; its run keeps it through the next leg. Later, the run's newest."""
    run = Location(handed.run)
    try:
        return Checkpoint.open(location_of(run, handed.step))
    except CheckpointError:
        return find(run.uri)
