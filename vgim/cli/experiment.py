"""`vgim experiment`."""

from __future__ import annotations

import sys

import click

from vgim.cli.completion import complete_experiment
from vgim.cli.live import show_progress
from vgim.cli.options import (
    Count,
    WithDefault,
    address_option,
    json_option,
    overrides_argument,
    reads_only,
    verbose_option,
)


@click.group(cls=WithDefault, subcommand_metavar="FILE [KEY=VALUE]... | COMMAND [ARGS]...")
def experiment() -> None:
    """Train several configs with several seeds, and compare.

    `vgim experiment FILE` runs the experiment of FILE, or continues it. FILE is a path, or the name of a file that
    comes with vgim. KEY=VALUE changes a key of the file (seeds=[0]), or of every run (train.max_steps=2000).
    """


@experiment.command()
@click.argument("file", shell_complete=complete_experiment)
@overrides_argument
@click.option(
    "--out", metavar="DIR", help="Folder of the experiment, instead of FILE's name below storage.root."
)
@click.option("--dry-run", is_flag=True, help="Print what would run; run nothing.")
@click.option(
    "--probe-workers",
    type=Count(0),
    default=0,
    show_default=True,
    help="Probes that Ray computes at the same time; 0 computes one after the other, without Ray.",
)
@address_option
@verbose_option
def run(
    file: str,
    overrides: tuple[str, ...],
    out: str | None,
    dry_run: bool,
    probe_workers: int,
    address: str | None,
    verbose: bool,
) -> None:
    """Run an experiment, or continue it. The same command again does what is left.

    FILE is the path of an experiment's file, or the name of one that comes with vgim. KEY=VALUE changes a key of
    the file (seeds=[0]), or of every run (train.max_steps=2000).
    """
    from vgim.experiment.plan import load_experiment

    loaded = load_experiment(file, overrides, out)  # reports mistakes before torch and Ray are imported
    from functools import partial

    with show_progress(sys.stdout) as progress:
        with progress.stage("loading torch"):
            from vgim.cluster.tasks import run_tasks
            from vgim.downstream.probe_plan import one_after_the_other
            from vgim.experiment.job import run_experiment

        side_by_side = partial(
            run_tasks, workers=probe_workers, device="auto", address=address, progress=progress
        )
        run_experiment(
            loaded,
            dry_run=dry_run,
            address=address,
            verbose=verbose,
            runner=side_by_side if probe_workers else one_after_the_other,
            progress=progress,
        )


@experiment.command()
@click.argument("folder", metavar="DIR")
@json_option
@reads_only
def show(folder: str, as_json: bool) -> None:
    """Print the tables of what an experiment has so far, and update its files.

    The experiment may still be running. DIR is a path, a URI, or the name of an experiment under $VGIM_HOME/runs; or
    the experiment's file, by path or name, if it was started without --out.
    """
    import shutil

    from vgim.compare.grouped_table import tables_as_text
    from vgim.experiment.plan import find_folder
    from vgim.experiment.results import show as compare_again

    comparison = compare_again(find_folder(folder))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    click.echo(comparison.model_dump_json(indent=2) if as_json else tables_as_text(comparison, width))
