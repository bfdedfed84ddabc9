"""Colors on a terminal: states in tables, and the first word of what is said."""

from __future__ import annotations

import shutil
import sys
from typing import TextIO

import click

from vgim.cli.live import has_color, is_terminal

COLORS = {
    "finished": "green",
    "running": "cyan",
    "interrupted": "yellow",
    "stopped": "yellow",
    "waiting": "bright_black",
    "failed": "red",
    "unreadable": "red",
    "unknown": "red",
}
"""Color of each state of a run or a trial."""
STATE = "state"
"""Header of the column of states."""


def table_width() -> int | None:
    """Columns of the terminal that tables are printed to; None elsewhere."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None


def echo_table(table: str) -> None:
    """Print a table to standard output; states are colored if it is a terminal.

    Args:
        table: Its first line is the header.
    """
    click.echo(color_states(table) if has_color(sys.stdout) else table)


def color_states(table: str) -> str:
    """Color the words of the column `state`, which is aligned to the left; other columns stay as they are."""
    header, *rows = table.split("\n")
    start = f" {header} ".find(f" {STATE} ")
    if start < 0:
        return table
    return "\n".join([header, *(_color_word(row, start) for row in rows)])


def _color_word(row: str, start: int) -> str:
    word = row[start:].partition(" ")[0]
    is_cell = word in COLORS and (start == 0 or row[start - 1] == " ")
    return f"{row[:start]}{click.style(word, fg=COLORS[word])}{row[start + len(word) :]}" if is_cell else row


def label(word: str, color: str, out: TextIO) -> str:
    """A word such as `error:`, colored if `out` is a terminal."""
    return click.style(word, fg=color, bold=True) if has_color(out) else word
