"""A small population, and its members trained in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import equal

from tests.tune.sweep_cases import MakeSweep
from vgim.runs.checkpoint import Checkpoint
from vgim.runs.metrics import read_metrics
from vgim.storage import Location
from vgim.tune.pbt_member import (
    CheckpointRef,
    IntervalReport,
    run_member,
)
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext
from vgim.tune.trials import Trial

RATE = "optim.learning_rate"


PBT = "{kind: pbt, interval_epochs: 1}"


STEPS = 4  # an epoch


class Gone(Exception):  # noqa: N818
    """Tune has ended the process."""


def population(tiny_sweep: MakeSweep, *overrides: str, rates: str = "[1e-3, 1e-2]", **keys: str) -> Sweep:
    return tiny_sweep(
        {RATE: rates},
        "model.depth=1",
        "train.epochs=3",
        f"train.limit_train_batches={STEPS}",
        "train.limit_validation_batches=1",
        *overrides,
        **{"scheduler": PBT, **keys},
    )


def go_on(
    sweep: Sweep,
    member: Trial,
    *,
    num_reports: int | None = None,
    rate: float | None = None,
    checkpoint: CheckpointRef | None = None,
    watch: Callable[[IntervalReport], None] = lambda report: None,
    decided_epoch: int = 0,
) -> list[IntervalReport]:
    """Train a member until it has sent `num_reports` reports, and return them; None for the member's end."""
    told: list[IntervalReport] = []

    def on_report(report: IntervalReport) -> None:
        told.append(report)
        watch(report)
        if len(told) == num_reports:
            raise Gone

    values = member.values if rate is None else {RATE: rate}
    context = TrialContext(sweep.config.metric, None, 1)
    if num_reports is None:
        run_member(member, values, context, 1, on_report, checkpoint, decided_epoch=decided_epoch)
    else:
        with pytest.raises(Gone):
            run_member(member, values, context, 1, on_report, checkpoint)
    return told


def same(one: Checkpoint, other: Checkpoint) -> bool:
    pairs = [(one.weights(), other.weights()), (one.optimizer(), other.optimizer())]
    return all(a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a) for a, b in pairs)


def steps(run: Location, kind: str = "train") -> list[int]:
    return [record["step"] for record in read_metrics(run) if record["kind"] == kind]


def rates(run: Location) -> list[float]:
    return [record["learning_rate"] for record in read_metrics(run) if record["kind"] == "train"]
