"""The `vgim` command: one module per group of verbs, one thin function per verb.

A verb imports what it needs when it runs, so that `vgim --help` answers at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from vgim import __version__
from vgim.cli.compare import compare
from vgim.cli.completion import completion
from vgim.cli.config import config
from vgim.cli.data import data
from vgim.cli.decode import decode
from vgim.cli.experiment import experiment
from vgim.cli.export import export
from vgim.cli.features import features
from vgim.cli.latents import latents
from vgim.cli.messages import say, say_error, usage_problem
from vgim.cli.output import loss, lossy_output
from vgim.cli.probe import probe
from vgim.cli.reference import export_reference, from_reference, import_reference
from vgim.cli.report import report
from vgim.cli.serve import serve
from vgim.cli.sweep import sweep
from vgim.cli.train import runs, train
from vgim.errors import Interrupted, StorageError, VgimError
from vgim.logs import is_json, log_format
from vgim.signals import Stopped, name_of, stop_signals
from vgim.text import shorten


class Commands(click.Group):
    """Prints an error that a user can cause as `error: ...`, and exits with its code; 128 + its number for a signal."""

    def main(self, *args: Any, **extra: Any) -> Any:
        with lossy_output() as out:
            try:
                return super().main(*args, **extra)
            except SystemExit as end:
                if not end.code and (lost := loss(out)):
                    say_error(lost)
                    raise SystemExit(StorageError.exit_code) from None
                raise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with _errors_said(ctx):
            if not ctx.resilient_parsing:  # a shell that asks for completions
                log_format()
            for arg in args:
                # How Python keeps bytes that do not decode.
                if any("\ud800" <= mark <= "\udfff" for mark in arg):
                    ctx.fail(f"{shorten(arg)} is not UTF-8; rename the file, or set LANG to a UTF-8 locale")
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _errors_said(ctx), stop_signals():
            return super().invoke(ctx)


@contextmanager
def _errors_said(ctx: click.Context) -> Iterator[None]:
    """Say the errors that a user can cause, and the signals, that end what is inside, and exit with their codes."""
    try:
        yield
    except click.ClickException as error:
        if (
            isinstance(error, click.exceptions.NoArgsIsHelpError) and not is_json()
        ):  # whose message is the help
            raise
        say_error(usage_problem(error))
        ctx.exit(error.exit_code)
    except VgimError as error:
        say_error(str(error))
        ctx.exit(error.exit_code)
    except FileNotFoundError:
        if _has_working_folder():
            raise
        say_error("the working folder was deleted; change to another folder (cd)")
        ctx.exit(StorageError.exit_code)
    except KeyboardInterrupt as error:
        stopped = error if isinstance(error, Stopped) else Stopped()
        if not isinstance(error, Interrupted):
            say(f"interrupted by {name_of(stopped.signal_number)}")
        ctx.exit(stopped.exit_code)


def _has_working_folder() -> bool:
    """Whether the working folder of this process has not been deleted."""
    try:
        return bool(Path.cwd())
    except FileNotFoundError:
        return False


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
    serve,
    sweep,
    experiment,
    export,
    features,
    import_reference,
    export_reference,
    from_reference,
    completion,
):
    main.add_command(verb)
