"""`vgim experiment`."""

from __future__ import annotations

import click

from vgim.cli.options import WithDefault, overrides_argument


@click.group(cls=WithDefault, subcommand_metavar="FILE [KEY=VALUE]... | COMMAND [ARGS]...")
def experiment() -> None:
    """Train several configs with several seeds, and compare.

    `vgim experiment FILE` runs the experiment of FILE; `vgim experiment run --help` lists its options.
    """


@experiment.command()
@click.argument("file")
@overrides_argument
@click.option(
    "--out", metavar="DIR", help="Folder of the experiment, instead of FILE's name below storage.root."
)
@click.option("--dry-run", is_flag=True, help="Print what would run; run nothing.")
@click.option("--address", help="Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT.")
@click.option("--verbose", is_flag=True, help="Show Ray's own log lines.")
def run(
    file: str,
    overrides: tuple[str, ...],
    out: str | None,
    dry_run: bool,
    address: str | None,
    verbose: bool,
) -> None:
    """Run an experiment, or continue it. The same command again does what is left.

    FILE is the path of an experiment's file, or the name of one that comes with vgim. KEY=VALUE changes a key of
    the file (seeds=[0]), or of every run (train.max_steps=2000).
    """
    from vgim.experiment.file import load_experiment

    loaded = load_experiment(file, overrides, out)  # reports mistakes before torch and Ray are imported
    from vgim.experiment.job import run_experiment

    run_experiment(loaded, dry_run=dry_run, address=address, verbose=verbose)
