"""How long a stage still takes, from how long its units took."""

from __future__ import annotations

import math

SHORTEST_MEMORY_S, LONGEST_MEMORY_S = 20.0, 600.0
"""Bounds of the time after which what was measured counts 1/e; between them it is a third of the time so far."""
EVIDENCE_S = 1.0
"""Seconds of work before which nothing is told."""


class Eta:
    """Estimates the seconds left, from reports of units that are done; newer reports count more.

    Args:
        now: Time at which the stage began, in seconds.
        done: Units that were done before, which say nothing about the speed.
    """

    def __init__(self, now: float, done: int = 0) -> None:
        self._began_at = self._reported_at = now
        self._done: float = done
        # Sums over the reports, each decayed: their time, their units, their number.
        self._time_s = self._units = self._reports = 0.0

    def report(self, now: float, done: float) -> None:
        """Note how many units are done, parts of units among them.

        A number that is not higher is no report, but a lower one is the new count.
        """
        units = done - self._done
        self._done = done
        if units <= 0:
            return
        duration = now - self._reported_at
        memory_s = min(max((now - self._began_at) / 3, SHORTEST_MEMORY_S), LONGEST_MEMORY_S)
        kept = math.exp(-duration / memory_s)
        self._time_s = self._time_s * kept + duration
        self._units = self._units * kept + units
        self._reports = self._reports * kept + 1
        self._reported_at = now

    def seconds_left(self, now: float, total: int) -> float | None:
        """Seconds until all units are done; None as long as nothing is known.

        It falls from one report to the next, and rises when a report is overdue. It is 0 only if all units are done,
        and otherwise at least a second.
        """
        left = total - self._done
        if left <= 0:
            return 0.0
        if not self._reports or now - self._began_at < EVIDENCE_S:
            return None
        usual_s = self._time_s / self._reports
        waited_s = now - self._reported_at
        overdue_s = max(waited_s - usual_s, 0.0)
        unit_s = (self._time_s + overdue_s) / self._units
        return max(left * unit_s - min(waited_s, usual_s), overdue_s / 4, 1.0)
