"""The stages that are under way, and the words for how far each is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from vgim.cli.eta import Eta
from vgim.text import MISSING, format_clock, plural_of

Clock = Callable[[], float]
"""Seconds, from any origin."""
GAP = "  "
"""Between two parts of a line."""
WORTH_A_LINE_S, WORTH_A_LAST_LINE_S = 2.0, 10.0
"""Seconds that a stage takes before a line tells of it where nothing is drawn; and before its end is told."""


class OpenStage:
    """A stage that has begun; a `vgim.progress.Stage`.

    Args:
        lock: Held while the numbers change.
        is_outermost: Whether no other stage was under way when this one began.
    """

    def __init__(
        self,
        title: str,
        total: int | None,
        unit: str,
        done: int,
        even: bool,
        *,
        clock: Clock,
        lock: threading.RLock,
        is_outermost: bool,
    ) -> None:
        self.title, self.total, self.unit, self.done = title, total, unit, done
        self.detail = ""
        self.is_outermost = is_outermost
        self._even, self._clock, self._lock = even, clock, lock
        self._began_at = clock()
        self._eta = Eta(self._began_at, done)

    def advance(self, count: int = 1) -> None:
        """Count units that were done just now."""
        with self._lock:
            self.update(done=self.done + count)

    def update(
        self,
        *,
        done: int | None = None,
        total: int | None = None,
        detail: str | None = None,
        begun: float = 0.0,
    ) -> None:
        """Set what is given, and leave the rest as it is."""
        with self._lock:
            if total is not None:
                self.total = total
            if detail is not None:
                self.detail = detail
            if done is not None:
                self.done = done
                self._eta.report(self._clock(), done + begun)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the stage began."""
        return self._clock() - self._began_at

    def count(self) -> str:
        """`3/12 shards`, `1,204 utterances`; empty without units."""
        if not self.unit:
            return ""
        if self.total is None:
            return f"{self.done:,} {self.unit if self.done == 1 else plural_of(self.unit)}"
        return f"{self.done:,}/{self.total:,} {self.unit if self.total == 1 else plural_of(self.unit)}"

    def time_left(self) -> str:
        """`ETA 0:32`, `ETA -` as long as it is not known; empty if it cannot be told."""
        if self.total is None or not self._even:
            return ""
        left_s = self._eta.seconds_left(self._clock(), self.total)
        return f"ETA {MISSING if left_s is None else format_clock(left_s)}"

    def as_line(self) -> str:
        """All that is known, in one line: `writing shards  3/12 shards  0:14  ETA 0:42  1,204 utterances`."""
        with self._lock:
            words = [self.title, self.count(), format_clock(self.elapsed_s), self.time_left(), self.detail]
        return GAP.join(filter(None, words))

    def as_last_line(self) -> str:
        """What was done, and the time that it took."""
        with self._lock:
            words = [self.title, self.count(), f"took {format_clock(self.elapsed_s)}"]
        return GAP.join(filter(None, words))


class Board:
    """Knows the stages that are under way; the base of what shows them.

    Args:
        clock: Tells the time.
    """

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._stages: list[OpenStage] = []

    @contextmanager
    def stage(
        self, title: str, *, total: int | None = None, unit: str = "", done: int = 0, even: bool = True
    ) -> Iterator[OpenStage]:
        """Begin a stage: see `vgim.progress.Progress`."""
        with self._lock:
            is_outermost = not self._stages
            stage = OpenStage(
                title,
                total,
                unit,
                done,
                even,
                clock=self._clock,
                lock=self._lock,
                is_outermost=is_outermost,
            )
            self._stages.append(stage)
        try:
            self._begun(stage)
            yield stage
        except BaseException:
            self._remove(stage)
            raise
        self._remove(stage)
        if is_outermost and stage.elapsed_s >= WORTH_A_LAST_LINE_S:
            self.message(stage.as_last_line())

    def message(self, line: str) -> None:
        """Print a line."""
        raise NotImplementedError

    def _begun(self, stage: OpenStage) -> None:
        """Called when a stage has begun."""

    def _remove(self, stage: OpenStage) -> None:
        with self._lock:
            self._stages.remove(stage)
