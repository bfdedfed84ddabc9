"""The one worker of a private Ray: an actor, which is started anew if it is lost.

Ray Train would start two more processes for it, one before the other. Each imports Ray, which takes seconds of a core.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vgim.cluster.placement import Placement
from vgim.errors import TrainingError, VgimError
from vgim.signals import STOP_SIGNALS
from vgim.text import first_line

THREADS = "OMP_NUM_THREADS"
"""Variable that torch takes its number of threads from. Ray sets it in its processes, where the user has not."""
LOOK_S = 1.0
"""Seconds between two looks at whether Ray still runs, while the worker starts."""


class WorkerFailedError(Exception):
    """The worker was lost once more than it may be.

    Args:
        error: Ray's last error.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.worker_failures = {0: error}


class RayEndedError(Exception):
    """Ray's own processes have ended, so that no worker can start.

    Args:
        reason: What ended the worker before; None for the first worker.
    """

    def __init__(self, reason: Exception | None) -> None:
        super().__init__("it starts no process" if reason is None else first_line(reason))


class TrainWorker:
    """The actor."""

    def train(self, train_worker: Callable[[], None], threads: str | None) -> None:
        """Call `train_worker`, with the variable `THREADS` as the command has it; torch is not yet imported."""
        if threads is None:
            os.environ.pop(THREADS, None)
        for number in STOP_SIGNALS:  # the command hears of them too, and asks the training to stop
            signal.signal(number, signal.SIG_IGN)
        train_worker()


def train_alone(
    train_worker: Callable[[], None],
    placement: Placement,
    *,
    max_failures: int,
    start_timeout_s: float,
    is_stopping: Callable[[], bool],
) -> None:
    """Call `train_worker` in an actor until it returns.

    Args:
        train_worker: Called without arguments.
        placement: Resources of the worker.
        max_failures: How often a lost worker is started anew.
        start_timeout_s: Seconds that the worker's process may take to start.
        is_stopping: Whether a signal has asked the command to end, so that a lost worker stays lost.

    Raises:
        VgimError: An error of the training, which a new worker would only raise again.
        TrainingError: The worker did not start in time.
        RayEndedError: Ray itself has ended.
        WorkerFailedError: The worker was lost, or raised another error, too often.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    kind = ray.remote(num_cpus=placement.cpus_per_worker, num_gpus=int(placement.use_gpu))(TrainWorker)
    failures = 0
    lost: Exception | None = None
    while True:
        worker = kind.remote()
        try:
            _wait_for_start(worker, start_timeout_s, lost)
            ray.get(worker.train.remote(train_worker, os.environ.get(THREADS)))
            return
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else None
            if isinstance(cause, VgimError):
                raise cause from error
            failures, lost = failures + 1, error
            if failures > max_failures or is_stopping():
                raise WorkerFailedError(error) from error
        finally:
            with suppress(Exception):  # it is dead already, or Ray is
                ray.kill(worker)


def _wait_for_start(worker: Any, timeout_s: float, lost: Exception | None) -> None:
    """Wait until an actor's process has started."""
    import ray
    from ray.exceptions import GetTimeoutError

    started, deadline = worker.__ray_ready__.remote(), time.monotonic() + timeout_s
    while True:
        try:
            ray.get(started, timeout=min(LOOK_S, timeout_s))
            return
        except GetTimeoutError:
            if not any(node["Alive"] for node in ray.nodes()):
                raise RayEndedError(lost) from lost
            if time.monotonic() > deadline:
                raise TrainingError(
                    f"the worker did not start within {timeout_s:g} s (cluster.start_timeout_s); the machine may be "
                    "too busy: try again, or train without Ray (cluster.workers=0)"
                ) from None
