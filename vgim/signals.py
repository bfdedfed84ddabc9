"""Signals that ask a command to stop: SIGINT (Ctrl-C), SIGTERM (a scheduler, `ray job stop`), SIGHUP (a lost terminal).

A signal raises `Stopped` in the main thread, so that whatever is under way ends as after an error: no half-written file
stays. A training first writes a checkpoint: it sets `StopSignals.is_patient`, and asks `StopSignals.signal` between two
steps. A second signal raises in any case.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE_BASE = 128
"""Shells report this number plus the signal's for a command that a signal ended: 130, 143, 129."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the command to stop.

    Args:
        signal_number: the signal.
    """

    def __init__(self, signal_number: int = signal.SIGINT) -> None:
        super().__init__()
        self.signal_number = int(signal_number)

    @property
    def exit_code(self) -> int:
        """Exit code of the command."""
        return exit_code_of(self.signal_number)


class StopSignals:
    """What signals have asked of this process."""

    def __init__(self) -> None:
        self.signal = 0
        """The first signal that was received while the training was patient; 0 for none."""
        self.received_at = 0.0
        """When it was received, by `time.monotonic`."""
        self.is_patient = False
        """Whether the first signal is only noted, because a training ends by itself."""
        self.is_ending = False
        """Whether signals are ignored, because the command writes its last words."""

    def handle(self, signal_number: int, frame: FrameType | None) -> None:
        """The handler of the signals.

        Raises:
            Stopped: nobody is patient, or this is the second signal.
        """
        if self.is_ending:
            return
        if not self.is_patient or self.signal:
            raise Stopped(signal_number)
        self.signal, self.received_at = signal_number, time.monotonic()


_of_this_process: StopSignals | None = None


@contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Handle the signals until the context ends; within another such context, the same object.

    Python handles signals in its main thread alone: in another thread the object never hears of any. A signal that the
    process was told to ignore, as SIGHUP is by `nohup`, stays ignored.
    """
    global _of_this_process
    if threading.current_thread() is not threading.main_thread():
        yield StopSignals()
        return
    if _of_this_process is not None:
        yield _of_this_process
        return
    _of_this_process = stop = StopSignals()
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop.handle)
        yield stop
    finally:
        _of_this_process = None
        _set(before)


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put the handlers of the signals back afterwards, and let no process that is started within hear of SIGHUP.

    Ray sets handlers of its own, one of which aborts at SIGTERM with a native trace. Its processes belong to the
    terminal of this one, whose SIGHUP would end them before their training has written a checkpoint.

    Raises:
        Stopped: SIGTERM was received while Ray's handler was set.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    except SystemExit as end:
        if end.code != signal.SIGTERM:
            raise
        raise Stopped(signal.SIGTERM) from None  # Ray's handler exits with the signal's number
    finally:
        _set(before)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def signal_of(error: BaseException) -> int:
    """The signal behind an error that ends a command: that of `Stopped`; SIGINT for Python's own KeyboardInterrupt."""
    return error.signal_number if isinstance(error, Stopped) else signal.SIGINT


def exit_code_of(signal_number: int) -> int:
    """Exit code of a command that a signal ended."""
    return EXIT_CODE_BASE + signal_number


def name_of(signal_number: int) -> str:
    """A signal's name, such as SIGTERM."""
    try:
        return signal.Signals(signal_number).name
    except ValueError:
        return f"signal {signal_number}"


def _set(handlers: dict[signal.Signals, Callable[..., object] | int | None]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler if handler is not None else signal.SIG_DFL)
