"""The tasks of `vgim probe`: those that `--task` names, or all that there are labels for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from vgim.cli.live import show_progress
from vgim.cli.messages import say
from vgim.cli.options import LazyChoice
from vgim.errors import ConfigError, DataError
from vgim.text import shorten


class TaskName(LazyChoice):
    """A registered task, or a column of the table that `--labels` names, which the command checks."""

    def __init__(self) -> None:
        super().__init__("vgim.downstream.probes.registry:TASKS")

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return str(value)


def chosen_tasks(
    runs: Sequence[str], tasks: Sequence[str], *, shards: str | None, labels: str | None, is_quiet: bool
) -> Mapping[str, str | None]:
    """The table of each task that is probed; None for a task of the shards' own labels.

    Args:
        runs: Paths or URIs of the runs.
        tasks: What `--task` named; without any, all are taken that there are labels for, and a line says which.
        shards: What `--shards` named.
        labels: What `--labels` named.

    Raises:
        ConfigError: A task is unknown, or the table has no effect.
        VgimError: A run, its shards or the table cannot be read, or there are no labels.
    """
    from vgim.downstream.probes.registry import TASKS

    if labels is not None:
        return _with_table(tasks, labels)
    for task in tasks:
        if task not in TASKS:
            raise ConfigError(
                f"--task {shorten(task)} is not a task; use {', '.join(TASKS)}, or give the table that has such a "
                "column with --labels"
            )
    if not tasks:
        with show_progress(is_quiet=is_quiet) as progress, progress.stage("loading torch"):
            tasks = _tasks_with_labels(runs, shards)
        say(f"tasks: {', '.join(tasks)}, for which the shards have labels; --task chooses")
    return dict.fromkeys(tasks)


def _with_table(tasks: Sequence[str], labels: str) -> Mapping[str, str | None]:
    """As `chosen_tasks`, where a table is given."""
    from vgim.downstream.probes.label_table import problem_of_classes, read_label_table
    from vgim.downstream.probes.registry import TASKS

    table = read_label_table(labels)
    columns = table.columns
    if not tasks:
        problems = {name: problem_of_classes(column.values(), table.kind) for name, column in columns.items()}
        usable = [name for name, problem in problems.items() if problem is None]
        left_out = [f"column {name}: {problem}" for name, problem in problems.items() if problem is not None]
        if not usable:
            raise DataError(f"{labels}, {left_out[0]}")
        for line in (*table.problems.values(), *(f"{labels}, {line}" for line in left_out)):
            say(f"note: {line}; it is left out")
        say(f"tasks: {', '.join(usable)}, the columns of {labels}; --task chooses")
        return dict.fromkeys(usable, labels)
    for task in tasks:
        if task in table.problems and task not in TASKS:
            raise DataError(table.problems[task])
        if task not in TASKS and task not in columns:
            raise ConfigError(
                f"--task {shorten(task)}, but {labels} has the columns {', '.join(columns)}; use one of them, or a "
                f"task of the shards: {', '.join(TASKS)}"
            )
    if not set(tasks) - set(TASKS):
        raise ConfigError(
            f"--labels {labels} has no effect on --task {tasks[0]}, which reads the shards' labels; name one of its "
            f"columns too ({', '.join(columns)}), or leave it out"
        )
    return {task: None if task in TASKS else labels for task in tasks}


def _tasks_with_labels(runs: Sequence[str], shards: str | None) -> tuple[str, ...]:
    """The tasks that the shards of all runs have labels of two classes for.

    Raises:
        VgimError: A run or its shards are missing, or there are no labels.
    """
    from vgim.data.shards.manifest import read_manifest
    from vgim.downstream.probes.registry import PROBES, learnable_probes
    from vgim.pretrained.opened_run import run_config
    from vgim.storage import Location

    places = [shards] if shards is not None else [run_config(run).data.shards for run in runs]
    tasks = list(PROBES)
    for place in dict.fromkeys(places):
        probes = learnable_probes(read_manifest(Location(place)))
        tasks = [task for task in tasks if task in probes]
    if not tasks:
        raise DataError(
            f"{', '.join(dict.fromkeys(places))}: no labels in common that a probe can learn; give --shards of a "
            "corpus with several speakers, or with phone labels, or --labels with a table of your own"
        )
    return tuple(tasks)
