"""Waiting in tests: for a condition, never for a time, and with a message where the condition does not come true."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 300.0  # the slowest machine gets there sooner; only a defect does not
POLL_S = 0.02


def wait_until(condition: Callable[[], object], what: str, *, limit_s: float = LIMIT_S) -> None:
    """Wait until `condition()` is true.

    Args:
        what: What is waited for, for the message.

    Raises:
        AssertionError: It has not come true within `limit_s` seconds.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit_s:g} s in vain: {what}")
        time.sleep(POLL_S)
