"""How long a run has been without workers, for Prometheus.

Ray's controller exports it: rank 0, which exports the other metrics, is not there while a run waits for nodes or for
its turn.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from vgim.storage import Location
from vgim.training.prometheus import REPEAT_S, WAITING_GAUGE, WAITING_TEXT


class WaitingGauge:
    """Sets the gauge of one run's wait, again and again, since Ray forgets what is not set for 20 seconds."""

    def __init__(self, run: str) -> None:
        from ray.util.metrics import Gauge

        self._tags = {"run": run}
        self._gauge = Gauge(WAITING_GAUGE, description=WAITING_TEXT, tag_keys=("run",))
        self._since: float | None = time.monotonic()
        self._is_over = threading.Event()
        threading.Thread(target=self._repeat, name="waiting", daemon=True).start()

    def set_waiting(self, waiting: bool) -> None:
        """Begin or end a wait; one that has begun goes on."""
        if not waiting:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        self._set()

    def end(self) -> None:
        """Export nothing any more."""
        self._is_over.set()

    def _set(self) -> None:
        since = self._since
        self._gauge.set(0.0 if since is None else time.monotonic() - since, self._tags)

    def _repeat(self) -> None:
        self._set()
        while not self._is_over.wait(REPEAT_S):
            self._set()


def waiting_callback(run: Location) -> Any:
    """A Ray callback, called in Ray's controller, that exports for how long the run has been without workers.

    Returns:
        A `ControllerCallback`, a class of Ray's that is imported only here.
    """
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.controller import state

    with_workers = (state.RunningState, state.PreemptingState)
    at_the_end = (state.ShuttingDownState, state.ErroredState, state.FinishedState, state.AbortedState)

    class Waiting(ControllerCallback):  # type: ignore[misc]
        def after_controller_start(self, train_run_context: Any) -> None:
            self._gauge = WaitingGauge(run.name)

        def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
            if isinstance(current_state, at_the_end):
                self._gauge.end()
            else:
                self._gauge.set_waiting(not isinstance(current_state, with_workers))

    return Waiting()
