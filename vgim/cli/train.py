"""`vgim train` and `vgim runs`."""

from __future__ import annotations

import sys

import click

from vgim.cli.color import echo_table, table_width
from vgim.cli.live import show_progress
from vgim.cli.options import (
    FiniteRange,
    address_option,
    json_option,
    overrides_argument,
    preset_argument,
    reads_only,
    verbose_option,
)
from vgim.errors import ConfigError


@click.command()
@preset_argument
@overrides_argument
@click.option(
    "--resume-from",
    metavar="RUN",
    help="Run whose last checkpoint is continued (weights, optimizer and step), if this run has none.",
)
@click.option(
    "--init-from",
    metavar="RUN",
    help="Run or checkpoint whose weights are the first ones, if this run has no checkpoint.",
)
@click.option(
    "--attach",
    metavar="RUN",
    help="Run behind whose modules one more is trained, on the latents of its newest checkpoint, while it trains too.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print placement, steps, memory, time and what would happen in the run's folder; start and write nothing.",
)
@click.option(
    "--price-per-gpu-hour",
    type=FiniteRange(min=0),
    metavar="PRICE",
    help="With --dry-run: price of one GPU for an hour, in any currency, for the estimated cost.",
)
@address_option
@verbose_option
@click.pass_context
def train(
    ctx: click.Context,
    preset: str,
    overrides: tuple[str, ...],
    resume_from: str | None,
    init_from: str | None,
    attach: str | None,
    dry_run: bool,
    price_per_gpu_hour: float | None,
    address: str | None,
    verbose: bool,
) -> None:
    """Train an encoder. The same command again continues an interrupted run.

    Ctrl-C, SIGTERM and SIGHUP write a checkpoint first; a second signal stops at once. At the end it says whether each
    module learned, and which command to run next.

    PRESET is a name that `vgim config list` shows, or the path of a YAML file. KEY=VALUE changes a key of
    `vgim config keys`, for example model.channels=64. RUN is a path, a URI, or the name of a run under
    storage.root.
    """
    from vgim.config import load_config
    from vgim.config.paths import resolve_run_path

    if attach is not None:
        overrides = (*overrides, f"attach.run={attach}")
    if price_per_gpu_hour is not None and not dry_run:
        raise ConfigError(
            f"--price-per-gpu-hour {price_per_gpu_hour:g} has no effect without --dry-run; give both"
        )
    resolved = load_config(preset, overrides)  # a mistake in it is reported before the rest is imported
    root = resolved.config.storage.root
    continued = resume_from and resolve_run_path(resume_from, "--resume-from", root)
    first = init_from and resolve_run_path(init_from, "--init-from", root)
    if dry_run:
        with show_progress(sys.stdout) as progress:
            with progress.stage("loading torch"):
                from vgim.training.plan.dry_run import dry_run as plan_run

            plan_run(
                resolved,
                resume_from=continued,
                init_from=first,
                address=address,
                verbose=verbose,
                price_per_gpu_hour=price_per_gpu_hour,
                progress=progress,
            )
        return
    from vgim.training import trainer
    from vgim.verdict.console import verdict_at_end

    with verdict_at_end(trainer.run_location(resolved.config)), show_progress(sys.stdout) as progress:
        exit_code = trainer.train(
            resolved,
            resume_from=continued,
            init_from=first,
            address=address,
            verbose=verbose,
            progress=progress,
        )
    ctx.exit(exit_code)


@click.command()
@click.argument("storage", default="$VGIM_HOME/runs")
@json_option
@reads_only
def runs(storage: str, as_json: bool) -> None:
    """List runs: state, family, KL weight, step, epoch, best validation loss, InfoNCE of each module.

    STORAGE is the folder or URI that holds the runs, or the folder of one run; by default $VGIM_HOME/runs
    (~/vgim/runs).
    """
    import dataclasses
    import json

    from vgim.config.paths import resolve_path
    from vgim.runs.listing import format_runs, list_runs

    summaries = list_runs(resolve_path(storage, "STORAGE"))
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(summary) for summary in summaries], indent=2))
    else:
        echo_table(format_runs(summaries, table_width()))
