"""A clock that a test sets."""

from __future__ import annotations


class Clock:
    """Tells the time that the test says; called without arguments, as `time.monotonic` is."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now
