"""The trials and results of a sweep, read anew from its folder."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.config import from_yaml
from vgim.config.keys import dump, flatten
from vgim.errors import VgimError
from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.tune.folder import BASE, SweepFolder
from vgim.tune.output import write_results
from vgim.tune.pbt_member import with_current_values
from vgim.tune.results import SweepResult
from vgim.tune.sweep_file import Sweep
from vgim.tune.trials import Trial, trial_of, trials_of


def trials_with_runs(sweep: Sweep) -> list[Trial]:
    """The trials that have a run's folder, with the values of its config; without runs whose config is damaged."""
    return _trials_and_unreadable(sweep)[0]


def _trials_and_unreadable(sweep: Sweep) -> tuple[list[Trial], list[str]]:
    """The trials that have a run's folder, and a sentence on each run whose config is damaged."""
    trials, unreadable = [], []
    for name in sweep.trials.list():
        try:
            config = RunFolder(sweep.trials.child(name)).config()
        except VgimError as error:
            unreadable.append(f"{name} is left out: {error}")
            continue
        if config is not None:
            flat = flatten(dump(config))
            trials.append(trial_of(sweep, {axis.key: flat[axis.key] for axis in sweep.config.axes}))
    return trials, unreadable


def show(folder: str) -> SweepResult:
    """Read the results of a sweep that runs or has ended from its trials' folders, and write them again.

    Raises:
        StorageError: there is no sweep.
    """
    sweep = reopen(folder)
    notes = _trials_and_unreadable(sweep)[1] if sweep.config.search == "optuna" else []
    return write_results(sweep, current_trials(sweep, ()), notes)


def reopen(folder: str) -> Sweep:
    """The sweep that a folder holds."""
    sweep_folder = SweepFolder(Location(folder))
    config, base = sweep_folder.config(), sweep_folder.location.child(BASE)
    return Sweep(config, from_yaml(base.read_text(), base.uri), None, sweep_folder.location.uri)


def current_trials(sweep: Sweep, trials: Sequence[Trial]) -> list[Trial]:
    """The trials with their current values.

    Args:
        trials: the trials if they are known already; empty to derive them from the sweep.
    """
    if sweep.config.search == "optuna":
        return trials_with_runs(sweep)
    trials = trials or trials_of(sweep)
    if sweep.config.scheduler.kind == "pbt":
        return [with_current_values(trial) for trial in trials]
    return list(trials)
