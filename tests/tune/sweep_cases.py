"""Helpers that tests of sweeps share: types of fixtures, and a sweep run in the test's own process."""

from __future__ import annotations

from collections.abc import Callable

from vgim.runs.folder import RunFolder
from vgim.tune.folder import SweepFolder
from vgim.tune.results import SweepResult
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext, run_chain
from vgim.tune.trials import chains_of, trials_of

MakeSweep = Callable[..., Sweep]
FinishedSweep = tuple[Sweep, SweepResult]


def run_here(sweep: Sweep) -> list[tuple[str, int, float]]:
    """Run every chain, one after the other; return trial, epoch and metric of each report."""
    told: list[tuple[str, int, float]] = []
    context = TrialContext(sweep.config.metric, None, 1)
    with SweepFolder(sweep.folder).claim(sweep):
        for chain in chains_of(sweep, trials_of(sweep)):
            run_chain(chain, context, lambda trial, r: told.append((trial.id, r.epoch, r.value)))
    return told


def launches(sweep: Sweep) -> list[int]:
    records = [RunFolder(trial.run).record() for trial in trials_of(sweep)]
    return [record.launches if record is not None else 0 for record in records]
