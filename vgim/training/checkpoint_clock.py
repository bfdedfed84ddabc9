"""When a checkpoint is due by the clock, besides those at steps and epochs."""

from __future__ import annotations

import time
from collections.abc import Callable


class CheckpointClock:
    """Says when a checkpoint is due.

    Args:
        minutes: minutes between two checkpoints; 0 for never.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self._period_s, self._now = minutes * 60, now
        self._began = now()

    def is_due(self) -> bool:
        """Whether a period has passed since the clock began or was restarted; restarts it if so."""
        if not self._period_s or self._now() - self._began < self._period_s:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Begin a period, as after a checkpoint that was due for another reason."""
        self._began = self._now()
