"""Shows what a command does now, how far it is, and how long it still takes: `with show_progress(...) as progress:`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from vgim.logs import JSON, log_format
from vgim.progress import MessagesOnly, Progress
from vgim.text import printable


@contextmanager
def show_progress(out: TextIO | None = None, *, is_quiet: bool = False) -> Iterator[Progress]:
    """Show progress until the context ends: drawn on a terminal, as lines now and then elsewhere.

    The terminal is as it was before when the context has ended, after an error or a signal too. Results and errors are
    printed after it. With VGIM_LOG_FORMAT=json, every line is a JSON object.

    Args:
        out: Where to show it; by default the standard error, so that the standard output has results alone.
        is_quiet: Print messages, and show no stages: for output that a program reads.
    """
    out = out if out is not None else sys.stderr
    if log_format() == JSON:
        from vgim.cli.json_lines import JsonLines

        with JsonLines(out) as json_lines:
            yield MessagesOnly(json_lines.message) if is_quiet else json_lines
        return
    if is_quiet:
        yield MessagesOnly(lambda line: print(printable(line), file=out, flush=True))
        return
    if is_terminal(out):
        # Takes a tenth of a second, which commands without a terminal do not need.
        from vgim.cli.terminal import Terminal

        with Terminal(out) as terminal:
            yield terminal
        return
    from vgim.cli.plain_lines import PlainLines

    with PlainLines(out) as lines:
        yield lines


def is_terminal(out: TextIO) -> bool:
    """Whether lines of `out` can be drawn again."""
    return out.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")


def has_color(out: TextIO) -> bool:
    """Whether words are colored: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return is_terminal(out) and not os.environ.get("NO_COLOR")
