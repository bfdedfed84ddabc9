"""The `vgim` command: one module per group of verbs, one thin function per verb.

A verb imports what it needs when it runs, so that `vgim --help` answers at once.
"""

from __future__ import annotations

from typing import Any

import click

from vgim import __version__
from vgim.cli.compare import compare
from vgim.cli.config import config
from vgim.cli.data import data
from vgim.cli.decode import decode
from vgim.cli.experiment import experiment
from vgim.cli.latents import latents
from vgim.cli.probe import probe
from vgim.cli.reference import export_reference, from_reference, import_reference
from vgim.cli.report import report
from vgim.cli.sweep import sweep
from vgim.cli.train import runs, train
from vgim.errors import Interrupted, VgimError

INTERRUPTED = 130  # what shells report for Ctrl-C


class Commands(click.Group):
    """Prints an error that a user can cause as `error: ...`, and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VgimError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt as error:
            if not isinstance(error, Interrupted):
                click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vgim")
def main() -> None:
    """Variational Greedy InfoMax speech encoders, trained on Ray."""


for verb in (
    config,
    data,
    train,
    runs,
    probe,
    compare,
    decode,
    latents,
    report,
    sweep,
    experiment,
    import_reference,
    export_reference,
    from_reference,
):
    main.add_command(verb)
