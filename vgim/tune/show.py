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
from vgim.tune.pbt_lineage import with_current_values
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
    trials, notes = _current_trials_and_notes(sweep, ())
    return write_results(sweep, trials, notes)


def reopen(folder: str) -> Sweep:
    """The sweep that a folder holds, which may have been moved or copied since it ran."""
    location = Location(folder)
    config, file = SweepFolder(location).config(), location.child(BASE)
    base = from_yaml(file.read_text(), file.uri)
    storage = base.storage.model_copy(update={"root": location.parent.uri})
    return Sweep(
        config.model_copy(update={"name": location.name}),
        base.model_copy(update={"storage": storage}),
        None,
        location.uri,
    )


def current_trials(sweep: Sweep, trials: Sequence[Trial]) -> list[Trial]:
    """The trials with their current values.

    Args:
        trials: the trials if they are known already; empty to derive them from the sweep.
    """
    return _current_trials_and_notes(sweep, trials)[0]


def _current_trials_and_notes(sweep: Sweep, trials: Sequence[Trial]) -> tuple[list[Trial], list[str]]:
    """The trials with their current values, and a sentence on each whose values cannot be read."""
    if sweep.config.search == "optuna":
        return _trials_and_unreadable(sweep)
    known = list(trials or trials_of(sweep))
    notes = []
    if sweep.config.scheduler.kind == "pbt":
        for number, trial in enumerate(known):
            try:
                known[number] = with_current_values(trial)
            except VgimError as error:
                notes.append(f"{trial.id} is shown with its first values: {error}")
    return known, notes
