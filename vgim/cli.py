"""The `vgim` command: one thin function per verb.

A verb imports what it needs when it runs, so that `vgim --help` answers at once.
"""

from __future__ import annotations

from typing import Any

import click

from vgim import __version__
from vgim.errors import VgimError

INTERRUPTED = 130  # what shells report for Ctrl-C

overrides_argument = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class Commands(click.Group):
    """Turns the errors a user can cause into one line each and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VgimError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vgim")
def main() -> None:
    """Variational Greedy InfoMax speech encoders, trained on Ray."""


@main.group()
def config() -> None:
    """Look at presets and config keys."""


@config.command()
@click.argument("preset")
@overrides_argument
@json_option
def show(preset: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Print the resolved config and where each value came from."""
    from vgim.config import load_config
    from vgim.config import show as shown

    resolved = load_config(preset, overrides)
    click.echo(shown.as_json(resolved) if as_json else shown.annotated(resolved))


@config.command("list")
def list_presets() -> None:
    """List the presets."""
    from vgim.config.show import preset_list

    click.echo(preset_list())


@config.command()
def keys() -> None:
    """List every config key: its type, its default, what it does."""
    from vgim.config.show import key_list

    click.echo(key_list())


@main.command()
@click.argument("preset")
@overrides_argument
@click.option("--resume-from", metavar="RUN", help="Continue from the checkpoint of this run, state and all.")
@click.option("--init-from", metavar="RUN", help="Start from the weights of this run or checkpoint.")
@click.option("--address", help="Ray cluster to join; without it, the one at hand or a local one.")
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
    """Train an encoder. The same command again continues an interrupted run."""
    from vgim.config import load_config

    resolved = load_config(preset, overrides)
    from vgim.train import trainer

    ctx.exit(
        trainer.train(
            resolved, resume_from=resume_from, init_from=init_from, address=address, verbose=verbose
        )
    )


@main.command()
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
