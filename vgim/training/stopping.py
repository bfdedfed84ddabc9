"""Stopping a training so that it loses nothing: on the rank that asks the others to stop, and in the command itself."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from vgim.errors import StorageError
from vgim.runs.stop_request import requested_stop
from vgim.signals import StopSignals, exit_code_of, name_of
from vgim.storage import Location

LOCAL_POLL_S, REMOTE_POLL_S = 0.5, 5.0
"""Seconds between two looks for a request to stop, on local storage and elsewhere."""
SIGNAL_POLL_S = 0.1
LAST_S = 10.0
"""Seconds after the grace in which the command must end; then its process is ended, whatever it waits for."""


JOB, JOB_STOP_WAIT_S = "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_JOB_STOP_WAIT_TIME_S"
"""Environment of a job of Ray: a variable that every job has, and the seconds that `ray job stop` waits."""
DEFAULT_JOB_STOP_WAIT_S = 3.0
JOB_MARGIN_S = 0.5
"""Seconds before Ray kills a job, in which the command says how it ended."""


def grace_of(stop_grace_s: float) -> float:
    """Seconds that a training has to write its checkpoint.

    `ray job stop` sends SIGTERM, and kills the job some seconds later, whatever the config says.

    Args:
        stop_grace_s: `cluster.stop_grace_s`.
    """
    if JOB not in os.environ or not stop_grace_s:
        return stop_grace_s
    try:
        wait_s = float(os.environ.get(JOB_STOP_WAIT_S, DEFAULT_JOB_STOP_WAIT_S))
    except ValueError:
        wait_s = DEFAULT_JOB_STOP_WAIT_S
    return min(stop_grace_s, max(wait_s - JOB_MARGIN_S, JOB_MARGIN_S))


class StopWatch:
    """Knows whether a training is asked to stop, by a signal to its process or by a file; a context manager.

    Args:
        folders: folders in which a request to stop is looked for: the run's, and that of the sweep that it belongs to.
        signals: signals of this process; they raise no longer once the training asks for the first time.
    """

    def __init__(self, folders: Sequence[Location], signals: StopSignals | None = None) -> None:
        self._folders, self._signals = folders, signals or StopSignals()
        self._requested = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="stop-watch", daemon=True)

    def __enter__(self) -> StopWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def asked(self) -> int:
        """The signal for which the training is to stop; 0 to go on. Called at step boundaries; waits for nothing."""
        self._signals.is_patient = True
        return self._signals.signal or self._requested

    def _look(self) -> None:
        every_s = LOCAL_POLL_S if all(folder.is_local for folder in self._folders) else REMOTE_POLL_S
        while not self._requested and not self._closed.wait(every_s):
            with suppress(StorageError):  # the next look may succeed
                self._requested = max(map(requested_stop, self._folders))


def call_in_thread(
    function: Callable[[], object], abandon: Callable[[], bool] = lambda: False, poll_s: float = SIGNAL_POLL_S
) -> None:
    """Call a function in a thread of its own, while this thread waits and handles signals.

    In the main thread, Ray would set its own handler of SIGINT, and a signal would raise within Ray's code.

    Args:
        abandon: asked now and then; if it returns True, the function is left to the end of the process.
        poll_s: seconds between two such questions.

    Raises:
        BaseException: what the function raised.
    """
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, name="call", daemon=True)
    thread.start()
    try:
        while thread.is_alive() and not abandon():
            thread.join(poll_s)
    finally:
        if thread.is_alive():
            _start_no_other_ray()
    if raised:
        raise raised[0]


def end_within(seconds: float, exit_code: int) -> None:
    """End this process with an exit code, at most so many seconds after it begins to end.

    Where Ray's own processes are gone, Ray's end of this process waits for them for a minute, and exits with 1.
    """

    def begin() -> None:
        timer = threading.Timer(seconds, os._exit, (exit_code,))
        timer.daemon = True
        timer.start()

    atexit.register(begin)


def _start_no_other_ray() -> None:
    """Keep an abandoned thread from starting Ray anew, by its next call of Ray, when the process has ended its own."""
    hook = sys.modules.get("ray._private.auto_init_hook")
    if hook is not None:
        hook.enable_auto_connect = False  # type: ignore[attr-defined]


class Grace:
    """From the first signal to the end of the command: says what happens, and ends what takes too long.

    A context manager around the training, in the main thread. When the grace is over it sends the signal again, which
    raises `vgim.signals.Stopped` in the main thread.

    Args:
        stop: the signals of this process.
        grace_s: seconds for the checkpoint to be written.
        say: prints a line.
        ask: asks the ranks to stop; None where the rank is this process. If it returns False, no rank has begun, and
            the command ends at once.
    """

    def __init__(
        self,
        stop: StopSignals,
        grace_s: float,
        say: Callable[[str], None],
        ask: Callable[[int], bool] | None = None,
    ) -> None:
        self._stop, self._grace_s, self._print, self._ask = stop, grace_of(grace_s), say, ask
        key = JOB_STOP_WAIT_S if self._grace_s < grace_s else "cluster.stop_grace_s"
        self.limit = f"{self._grace_s:g} s ({key})"
        """The seconds for the checkpoint, and the setting that they come from."""
        self.is_over = False
        """Whether the grace ran out."""
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="grace", daemon=True)

    def __enter__(self) -> Grace:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def _say(self, line: str) -> None:
        with suppress(OSError, ValueError):  # after SIGHUP, the terminal is gone
            self._print(line)

    def _watch(self) -> None:
        while not self._stop.signal:
            if self._closed.wait(SIGNAL_POLL_S):
                return
        number = self._stop.signal
        try:
            begun = self._ask is None or self._ask(number)
        except StorageError as error:
            self._say(f"the ranks cannot be asked to stop: {error}")
            begun = False
        if begun:
            self._say(
                f"stopping after {name_of(number)}: the step under way is finished and written as a checkpoint, within "
                f"{self.limit}; a second signal stops at once"
            )
            left_s = self._stop.received_at + self._grace_s - time.monotonic()
            if self._closed.wait(max(left_s, 0)):
                return
            self.is_over = True
        # To the main thread itself, so that it leaves a system call.
        signal.pthread_kill(threading.main_thread().ident or 0, number)
        if not self._closed.wait(LAST_S):
            self._say(f"ended by {name_of(number)}: it waited for something that does not answer")
            sys.stdout.flush()
            os._exit(exit_code_of(number))
