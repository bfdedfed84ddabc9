"""Actions in threads of their own, whose errors reach the thread that asked for the actions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence


class Background:
    """Runs actions in a thread, at most one at a time.

    The thread is a daemon: storage that never answers does not keep the process from ending.

    Args:
        name: name of the threads.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_running(self) -> bool:
        """Whether an action is under way."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, action: Callable[[], None]) -> None:
        """Start an action, after the one before has ended.

        Raises:
            BaseException: the error of the action before; this one is not started.
        """
        self.wait()
        self._thread = threading.Thread(target=self._run, args=(action,), name=self._name, daemon=True)
        self._thread.start()

    def raise_error(self) -> None:
        """Raise the error of an action that has ended, once; never waits."""
        if not self.is_running:
            self.wait()

    def wait(self) -> None:
        """Wait until no action is under way.

        Raises:
            BaseException: the error of the action, once.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BaseException as error:
            self._error = error


def run_beside(name: str, actions: Sequence[Callable[[], None]]) -> None:
    """Run actions beside one another, and wait for all of them.

    Args:
        name: name of the threads.

    Raises:
        BaseException: the first error of an action, once all have ended.
    """
    threads = [Background(name) for _ in actions]
    for thread, action in zip(threads, actions, strict=True):
        thread.start(action)
    errors = []
    for thread in threads:
        try:
            thread.wait()
        except BaseException as error:
            errors.append(error)
    if errors:
        raise errors[0]
