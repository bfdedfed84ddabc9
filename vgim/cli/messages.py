"""What a command says on the standard error besides its progress: text, or JSON lines with VGIM_LOG_FORMAT=json."""

from __future__ import annotations

import sys

import click

from vgim.cli.color import label
from vgim.logs import is_json, json_line
from vgim.text import printable, without_middle


def say(line: str) -> None:
    """Say something that is no error."""
    click.echo(json_line(line) if is_json() else printable(line), err=True)


def say_error(message: str) -> None:
    """Say why a command ends: one object, or a line `error: ...` for each of the message's lines."""
    if is_json():
        click.echo(json_line(message, "error"), err=True)
        return
    for line in message.splitlines():
        click.echo(f"{label('error:', 'red', sys.stderr)} {without_middle(printable(line))}", err=True)


def usage_problem(error: click.ClickException) -> str:
    """What is wrong with a command's arguments, and how to get its help, on one line."""
    is_help = isinstance(error, click.exceptions.NoArgsIsHelpError)  # its message is the whole help
    problem = "Missing command." if is_help else without_middle(error.format_message())
    context = error.ctx if isinstance(error, click.UsageError) else None
    return problem if context is None else f"{problem.rstrip('.')}; see {context.command_path} --help"
