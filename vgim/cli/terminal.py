"""Progress on a terminal: a few lines that are drawn again and again below everything else that is printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.text import Text

from vgim.cli.stages import GAP, Board, Clock, OpenStage
from vgim.text import format_clock, printable

if TYPE_CHECKING:
    from rich.console import OverflowMethod, RenderResult

WIDEST_BAR, NARROWEST_BAR = 40, 8
INDENT = "  "
STYLES = {"warning:": "yellow", "finished": "green", "interrupted;": "yellow"}
"""Style of the first word of a message."""
SHOW_CURSOR = "\x1b[?25h"


class Terminal(Board):
    """Draws all stages that are under way; a context manager, after which nothing of the drawing is left.

    Args:
        out: The terminal.
        clock: Tells the time.
        **console: Options of rich's console, for tests.
    """

    def __init__(self, out: TextIO, clock: Clock = time.monotonic, **console: Any) -> None:
        super().__init__(clock)
        self._out = out
        # Lines are not wrapped, so that paths can be copied; the terminal wraps them.
        self.console = Console(
            file=out, highlight=False, markup=False, emoji=False, soft_wrap=True, **console
        )
        is_ascii = self.console.options.ascii_only
        self._spinner = Spinner("line" if is_ascii else "dots")
        self._overflow: OverflowMethod = "crop" if is_ascii else "ellipsis"
        self._live = Live(
            console=self.console,
            get_renderable=lambda: self,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )

    def __enter__(self) -> Terminal:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._live.stop()
        finally:  # a second Ctrl-C may have come while it stopped
            self._out.write(SHOW_CURSOR)
            self._out.flush()

    def message(self, line: str) -> None:
        """Print a line above the drawing."""
        text = Text(printable(line))
        word = line.partition(" ")[0]
        text.stylize(STYLES.get(word, ""), 0, len(word))
        self.console.print(text)

    def _begun(self, stage: OpenStage) -> None:
        self._live.refresh()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The drawing: a line for each stage, and one or more below it for its details."""
        with self._lock:
            stages = list(self._stages)
            rows = [
                (printable(stage.title), stage.count(), format_clock(stage.elapsed_s), stage.time_left())
                for stage in stages
            ]
            numbers = [(stage.done, stage.total) for stage in stages]
            details = [printable(stage.detail) for stage in stages]
        if not stages:
            return
        # A line that reaches the last column makes some terminals wrap.
        width = options.max_width - 1
        spin = self._spinner.render(self._clock())
        mark = spin.plain if isinstance(spin, Text) else ""
        columns = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
        used = cell_len(mark) + 1 + sum(columns) + len(GAP) * sum(size > 0 for size in columns[1:])
        bar = min(width - used - len(GAP), WIDEST_BAR) if any(total for _, total in numbers) else 0
        bar = bar if bar >= NARROWEST_BAR else 0
        title_width = min(columns[0], max(width - (used - columns[0]), NARROWEST_BAR))
        count_width = columns[1]
        whole = title_width + (bar and len(GAP) + bar) + (count_width and len(GAP) + count_width)
        for (title, count, *times), (done, total), detail in zip(rows, numbers, details, strict=True):
            line = Text(f"{mark} ", style="cyan", no_wrap=True)
            shown = Text(title, style="bold")
            has_numbers = bool(count) or total is not None
            shown.truncate(title_width if has_numbers else whole, overflow=self._overflow, pad=True)
            line.append_text(shown)
            if has_numbers and bar:
                line.append(GAP)
                line.append_text(_bar(done, total, bar, console, options))
            if has_numbers and count_width:
                line.append(GAP + count.rjust(count_width), style="default")
            for word, size in zip(times, columns[2:], strict=True):
                if size:
                    line.append(GAP + word.rjust(size), style="default")
            line.truncate(width, overflow=self._overflow)
            yield line
            for text in pack(detail.split(GAP), width - len(INDENT)):
                rest = Text(INDENT + text, style="dim", no_wrap=True)
                rest.truncate(width, overflow=self._overflow)
                yield rest


def _bar(done: int, total: int | None, width: int, console: Console, options: ConsoleOptions) -> Text:
    """A bar of a stage with units, or as much space."""
    text = Text()
    if total:
        bar = ProgressBar(total, min(done, total), width=width)
        for segment in bar.__rich_console__(console, options.update(width=width)):
            text.append(segment.text, segment.style)  # type: ignore[union-attr]
    text.truncate(width, pad=True)
    return text


def pack(parts: Sequence[str], width: int) -> Iterator[str]:
    """Lines of at most `width` cells, if no part is longer, with as many parts as fit."""
    line = ""
    for part in filter(None, parts):
        longer = f"{line}{GAP}{part}" if line else part
        if line and cell_len(longer) > width:
            yield line
            longer = part
        line = longer
    if line:
        yield line
