"""Sweeps and populations in the process of the command itself: Ray Tune's part, in a fixed order, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from vgim.cluster.connect import ensure_ray
from vgim.errors import VgimError
from vgim.storage import Location
from vgim.tune import job
from vgim.tune.pbt_lineage import read_lineage
from vgim.tune.pbt_member import CheckpointRef, IntervalReport, run_member
from vgim.tune.trial_driver import TrialContext, run_chain
from vgim.tune.trials import Trial, TrialChain

TAKEN_RATE = 2e-3
RATE = "optim.learning_rate"


class Paused(Exception):  # noqa: N818
    """A member that waits for the others at the end of an interval."""


def use_no_ray() -> None:
    """Let `vgim sweep` of this process run its trials here."""
    job.ensure_ray = connect  # type: ignore[assignment]
    job.run_tuner = run_tuner  # type: ignore[assignment]
    job.run_population = run_population  # type: ignore[assignment]


def connect(*, address: str | None = None, **options: Any) -> None:
    """Connect to a cluster that a command names, which fails where there is none; start no Ray of one's own."""
    if address is not None:
        ensure_ray(address=address)


def run_tuner(
    store: Location,
    chain_of: Callable[[Any], TrialChain],
    context: TrialContext,
    resources: Any,
    num_trials: int,
    *,
    max_failures: int,
    scheduler: Any,
    search: Any,
    on_end: Callable[[TrialChain, str | None], None],
) -> None:
    """Run the chains one after the other."""
    for number in range(num_trials):
        chain, error = chain_of({"chain": number}), None
        try:
            run_chain(chain, context, lambda trial, report: None)
        except VgimError as failure:
            error = str(failure)
        on_end(chain, error)


def run_population(
    store: Location,
    sweep: Any,
    members: Sequence[Trial],
    context: TrialContext,
    resources: Any,
    *,
    on_end: Callable[[TrialChain, str | None], None],
) -> None:
    """Train every member for an interval; then the last one takes over the first, and all train to their ends."""
    newest: dict[str, CheckpointRef | None] = {}

    def go_on(member: Trial, values: Any, checkpoint: CheckpointRef | None, reports: int) -> None:
        told: list[IntervalReport] = []

        def on_report(report: IntervalReport) -> None:
            told.append(report)
            newest[member.id] = report.checkpoint
            if len(told) == reports:
                raise Paused

        try:
            run_member(member, values, context, 1, on_report, checkpoint)
        except Paused:
            return

    best, worst = members[0], members[-1]
    taken = any(segment.taken_from for segment in read_lineage(worst.run).segments)
    if best is not worst and not taken:
        go_on(best, best.values, None, 1)
        go_on(worst, worst.values, None, 1)
        go_on(worst, {**worst.values, RATE: TAKEN_RATE}, newest[best.id], 1)
    for member in members:
        values = (
            {**member.values, RATE: TAKEN_RATE} if member is worst and best is not worst else member.values
        )
        go_on(member, values, None, 0)
        on_end(TrialChain((member,)), None)
