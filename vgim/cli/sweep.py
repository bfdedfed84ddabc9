"""`vgim sweep`, `vgim sweep show` and `vgim sweep best`."""

from __future__ import annotations

import sys

import click

from vgim.cli.color import echo_table, table_width
from vgim.cli.completion import complete_sweep
from vgim.cli.live import show_progress
from vgim.cli.messages import say
from vgim.cli.options import (
    Count,
    FiniteRange,
    WithDefault,
    address_option,
    json_option,
    overrides_argument,
    reads_only,
    verbose_option,
)


@click.group(cls=WithDefault, subcommand_metavar="FILE [KEY=VALUE]... | COMMAND [ARGS]...")
def sweep() -> None:
    """Train a config with different values of some keys, and compare.

    `vgim sweep FILE` runs the sweep of FILE; `vgim sweep run --help` lists its options.
    """


@sweep.command()
@click.argument("file", shell_complete=complete_sweep)
@overrides_argument
@click.option("--dry-run", is_flag=True, help="Print what would run, where, and its cost; run nothing.")
@click.option(
    "--price-per-gpu-hour",
    type=FiniteRange(min=0),
    metavar="PRICE",
    help="Price of one GPU for an hour, in any currency, for the estimated cost.",
)
@click.option(
    "--trials-at-once",
    type=Count(1),
    help="Largest number of trials that train at the same time.",
)
@address_option
@verbose_option
def run(
    file: str,
    overrides: tuple[str, ...],
    dry_run: bool,
    price_per_gpu_hour: float | None,
    trials_at_once: int | None,
    address: str | None,
    verbose: bool,
) -> None:
    """Run a sweep, or continue it. The same command again runs what is left.

    FILE is the path of a sweep file, or the name of one that comes with vgim. KEY=VALUE changes a key of
    the sweep (samples=8), or of the base run (train.epochs=5).
    """
    from vgim.tune.sweep_file import load_sweep

    at_once = [f"trials_at_once={trials_at_once}"] if trials_at_once is not None else []
    loaded = load_sweep(file, [*overrides, *at_once])  # reports mistakes before torch and Ray are imported
    with show_progress(sys.stdout) as progress:
        with progress.stage("loading torch"):
            from vgim.tune.job import run_sweep

        run_sweep(
            loaded,
            dry_run=dry_run,
            price_per_gpu_hour=price_per_gpu_hour,
            address=address,
            verbose=verbose,
            progress=progress,
            width=table_width(),
        )


@sweep.command()
@click.argument("sweep_folder", metavar="SWEEP")
@json_option
@reads_only
def show(sweep_folder: str, as_json: bool) -> None:
    """Print a sweep's results, and update its files and page.

    The sweep may still be running. SWEEP is a path, a URI, or the name of a sweep under $VGIM_HOME/runs.
    """
    from vgim.tune.results import format_table
    from vgim.tune.show import show as read_results

    result = read_results(_resolve(sweep_folder))
    if as_json:
        click.echo(result.model_dump_json(indent=2))
    else:
        echo_table(format_table(result, table_width()))


@sweep.command()
@click.argument("sweep_folder", metavar="SWEEP")
@click.option("--copy-to", metavar="RUN", help="Copy the best trial's run to this folder.")
@reads_only
def best(sweep_folder: str, copy_to: str | None) -> None:
    """Print the best trial of a sweep, and copy its run.

    SWEEP and RUN are paths, URIs, or names under $VGIM_HOME/runs.
    """
    from vgim.tune.best import best as find_best
    from vgim.tune.verdict import is_at_chance

    target = None if copy_to is None else _resolve(copy_to, "--copy-to")
    trial, notes = find_best(_resolve(sweep_folder), target)
    for note in notes:
        say(f"note: {note}")
    if is_at_chance(trial):
        say(f"note: {trial.id} is at chance, so that its metric orders noise")
    click.echo(f"{trial.id}: metric {trial.metric:.4f}, run folder {target or trial.run}")


def _resolve(path: str, option: str = "SWEEP") -> str:
    from vgim.config.paths import resolve_run_path

    return resolve_run_path(path, option)
