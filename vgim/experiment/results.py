"""The comparison of an experiment's runs and all files that are written about it, from what is there."""

from __future__ import annotations

import re
import shlex

from vgim.compare.grouped import GroupedComparison
from vgim.compare.grouped_picture import grouped_picture
from vgim.compare.grouped_table import grouped_csv, tables_as_markdown
from vgim.compare.read_groups import compare_groups
from vgim.errors import StorageError, VgimError
from vgim.experiment.config import ExperimentConfig
from vgim.experiment.file import pairs_of
from vgim.experiment.folder import CONFIG as FILE
from vgim.experiment.folder import ExperimentFolder
from vgim.experiment.plan import run_name
from vgim.plotting import can_draw, render
from vgim.runs.folder import RunFolder
from vgim.runs.layout import CONFIG, RECORD
from vgim.runs.metrics import read_metrics_file
from vgim.storage import Location
from vgim.verdict.verdict import NextCommand

RESULTS, TABLE, CSV, PICTURE = "results.json", "table.md", "table.csv", "picture.png"


def show(folder: str) -> GroupedComparison:
    """Compare what an experiment has trained and probed so far, and write its files anew.

    Args:
        folder: The experiment's folder, a path or a URI.

    Raises:
        StorageError: There is no experiment, or none of its runs has begun.
    """
    experiment = ExperimentFolder(Location(folder))
    comparison = write_results(experiment, experiment.config())
    if comparison is None:
        raise StorageError(f"no run of the experiment {experiment.location.uri} has begun; run it first")
    return comparison


def _unreadable(run: Location) -> str:
    """Why the files of a run that a comparison needs cannot be read; empty if they can, or are not there yet."""
    try:
        RunFolder(run).config()
        RunFolder(run).record()
        read_metrics_file(run)
    except VgimError as error:
        return str(error)
    return ""


def write_results(folder: ExperimentFolder, config: ExperimentConfig) -> GroupedComparison | None:
    """Compare the runs that have begun; write results.json, table.md, table.csv and, with matplotlib, picture.png.

    Returns:
        The comparison; None if no run has begun.
    """
    groups: dict[str, list[Location]] = {}
    waiting, unreadable = [], []
    for arm in config.runs:
        for seed in config.seeds:
            run = folder.runs.child(run_name(arm, seed))
            if reason := _unreadable(run):
                unreadable.append(f"{run.name} is left out: {reason}")
            elif run.child(CONFIG).exists() and run.child(RECORD).exists():
                groups.setdefault(arm, []).append(run)
            else:
                waiting.append(run.name)
    if not groups and unreadable:
        raise StorageError(f"no run of the experiment {folder.location.uri} can be read: {unreadable[0]}")
    if not groups:
        return None
    pairs = [pair for pair in pairs_of(config) if pair[0] in groups]
    comparison = compare_groups(groups, pairs)
    if (verdict := comparison.verdict) is not None and verdict.next is not None:
        following = for_all_runs(verdict.next, folder)
        comparison = comparison.model_copy(update={"verdict": verdict.model_copy(update={"next": following})})
    more = [*([f"not begun: {', '.join(waiting)}"] if waiting else []), *unreadable]
    if more:
        comparison = comparison.model_copy(update={"notes": (*comparison.notes, *more)})
    place = folder.location
    place.child(TABLE).write_bytes_atomic(tables_as_markdown(comparison).encode())
    place.child(CSV).write_bytes_atomic(grouped_csv(comparison).encode())
    if can_draw() and comparison.accuracies:
        place.child(PICTURE).write_bytes_atomic(render(grouped_picture(comparison), PICTURE))
    place.child(RESULTS).write_bytes_atomic(comparison.model_dump_json(indent=1).encode())
    return comparison


def for_all_runs(following: NextCommand, folder: ExperimentFolder) -> NextCommand:
    """The same command for all runs, if it trains one run on alone, which would then compare with no other.

    Args:
        following: The command that a run's figures call for.
        folder: The experiment's folder. Its file must be on this machine to be given to a command.
    """
    words = shlex.split(following.command)
    trains_on = words[:2] == ["vgim", "train"] and all(re.match(r"train\.\w+=", word) for word in words[3:])
    if not trains_on or not folder.location.is_local:
        return following
    file, out = folder.location.child(FILE).uri, folder.location.uri
    command = shlex.join(["vgim", "experiment", file, *words[3:], "--out", out])
    return following.model_copy(update={"command": command})
