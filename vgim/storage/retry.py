"""Repeat operations on remote storage that fail for the moment: slow is not dead.

Only operations that may be repeated come here: reads, listings, deletions, and whole-file puts.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from pyarrow import ArrowException

from vgim.storage.causes import is_transient, reason_and_fix

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 20.0
LIMIT_S = 300.0
"""Time from the start of an operation in which another attempt may begin, on storage that has answered before."""
FIRST_CONTACT_LIMIT_S = 30.0
"""The same on storage that has not answered to this process yet: its address may be wrong."""

T = TypeVar("T")
_logger = logging.getLogger(__name__)
# Not seeded: ranks that failed in the same moment must not try again in the same moment.
_jitter = random.SystemRandom()
_answered: set[str] = set()


def with_retries(operation: Callable[[], T], *, action: str, uri: str, storage: str) -> T:
    """The result of an operation, which is repeated with growing waits while its error is transient.

    Args:
        operation: Called once for each attempt; must leave the same result however often it is called.
        action: What the operation does, for the log: `read`.
        uri: What it does it to, for the log.
        storage: Scheme, authority and query, by which storage that has answered before is known.

    Raises:
        OSError: The operation's last error. Its note counts the attempts, if there were several.
        ArrowException: The same.
    """
    started = time.monotonic()
    attempt = 1
    while True:
        try:
            result = operation()
        except (OSError, ArrowException) as error:
            if not is_transient(error):
                if not isinstance(error, ArrowException):
                    _answered.add(storage)
                raise
            wait = min(FIRST_WAIT_S * 2 ** (attempt - 1), LONGEST_WAIT_S) * _jitter.uniform(0.5, 1.0)
            elapsed = time.monotonic() - started
            if elapsed + wait > (LIMIT_S if storage in _answered else FIRST_CONTACT_LIMIT_S):
                _answered.discard(storage)  # what follows, such as a run's last words, must not wait as long
                if attempt > 1:
                    error.add_note(f"{attempt} attempts in {elapsed:.0f} s")
                raise
            reason, _ = reason_and_fix(error, is_remote=True)
            _logger.warning(
                "cannot %s %s: %s; attempt %d follows in %.1f s", action, uri, reason, attempt + 1, wait
            )
            time.sleep(wait)
            attempt += 1
        else:
            _answered.add(storage)
            return result
