"""`vgim train` and `vgim runs`."""

from __future__ import annotations

import click

from vgim.cli.options import json_option, overrides_argument


@click.command()
@click.argument("preset")
@overrides_argument
@click.option("--resume-from", metavar="RUN", help="Continue from the checkpoint of this run, state and all.")
@click.option("--init-from", metavar="RUN", help="Start from the weights of this run or checkpoint.")
@click.option("--address", help="Ray cluster to join: auto, HOST:PORT or ray://HOST:PORT.")
@click.option("--verbose", is_flag=True, help="Show Ray's own log lines.")
@click.pass_context
def train(
    ctx: click.Context,
    preset: str,
    overrides: tuple[str, ...],
    resume_from: str | None,
    init_from: str | None,
    address: str | None,
    verbose: bool,
) -> None:
    """Train an encoder. The same command again continues an interrupted run.

    PRESET is a name that `vgim config list` shows, or the path of a YAML file. KEY=VALUE changes a key of
    `vgim config keys`, for example model.channels=64.
    """
    from vgim.config import load_config

    resolved = load_config(preset, overrides)  # a mistake in it is told before torch and Ray are imported
    from vgim.train import trainer

    ctx.exit(
        trainer.train(
            resolved, resume_from=resume_from, init_from=init_from, address=address, verbose=verbose
        )
    )


@click.command()
@click.argument("storage")
@json_option
def runs(storage: str, as_json: bool) -> None:
    """List the runs under STORAGE: state, family, KL weight, epoch, best loss."""
    import dataclasses
    import json

    from vgim.train.runs import format_table, list_runs

    summaries = list_runs(storage)
    click.echo(
        json.dumps([dataclasses.asdict(summary) for summary in summaries], indent=2)
        if as_json
        else format_table(summaries)
    )
