"""Progress as lines now and then, for a pipe, a job's log or CI."""

from __future__ import annotations

import threading
import time
from typing import TextIO

from vgim.cli.stages import WORTH_A_LINE_S, Board, Clock, OpenStage
from vgim.text import printable

FEWEST_S, MOST_S, SHARE = 10.0, 60.0, 0.05
"""Bounds of the seconds between two lines; between them it is this share of the time so far."""
LOOK_S = 0.5
"""Seconds between two looks whether a line is due."""


class PlainLines(Board):
    """Prints messages at once, and how far the innermost stage is now and then.

    Args:
        out: Where to print.
        clock: Tells the time.
    """

    def __init__(self, out: TextIO, clock: Clock = time.monotonic) -> None:
        super().__init__(clock)
        self._out = out
        self._began_at = clock()
        self._next_at = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="progress", daemon=True)

    def __enter__(self) -> PlainLines:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def message(self, line: str) -> None:
        """Print a line."""
        with self._lock:
            print(printable(line), file=self._out, flush=True)

    def print_stage(self, stage: OpenStage) -> None:
        """Print how far a stage is."""
        self.message(stage.as_line())

    def print_if_due(self) -> None:
        """Print how far the innermost stage is, if it is new enough to the reader."""
        now = self._clock()
        with self._lock:
            stage = self._stages[-1] if self._stages else None
            if stage is None or stage.elapsed_s < WORTH_A_LINE_S or now < self._next_at:
                return
            self._next_at = now + min(max(SHARE * (now - self._began_at), FEWEST_S), MOST_S)
            self.print_stage(stage)

    def _look(self) -> None:
        while not self._closed.wait(LOOK_S):
            self.print_if_due()
