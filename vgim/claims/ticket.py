"""The proof that a process, or a worker that it started, writes for the holder of a folder's claim."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

from vgim.claims.record import ClaimFile, newest_claim
from vgim.errors import StorageError, TrainingError
from vgim.storage import Location

RENEW_S = 15.0
"""Seconds between two renewals of a claim."""


class ClaimHeldError(TrainingError):
    """Another live process works on the folder."""


class ClaimLostError(TrainingError):
    """Another process has taken over the folder that this one works on; nothing more may be written there."""


@dataclass(frozen=True)
class Work:
    """What a claim is for, in the words of its messages."""

    doing: str
    """What the holder does, up to the folder's name: `training the run`."""
    instead: str
    """What else a user can do than wait for the holder: `use another storage.name`."""


@dataclass(frozen=True)
class ClaimTicket:
    """A claim as text, which can be sent to workers on other machines."""

    folder: str
    """Path or URI of the claimed folder."""
    number: int
    token: str

    def check(self) -> None:
        """Read who holds the folder: one listing and one small file.

        Raises:
            ClaimLostError: The folder is another's.
            StorageError: The claims cannot be read.
        """
        newest = newest_claim(Location(self.folder))
        if newest is not None and not self.is_of(newest):
            raise lost(self.folder, newest)

    def is_of(self, newest: ClaimFile) -> bool:
        """Whether the newest claim of the folder is the ticket's; damage to its file makes it no other's."""
        if newest.record is None:
            return newest.number <= self.number
        return newest.record.token == self.token


class TicketWatch:
    """Looks in the background whether a ticket is still good, so that a look costs the loop that asks nothing.

    Args:
        every_s: Seconds between two looks.
    """

    def __init__(self, ticket: ClaimTicket, every_s: float = RENEW_S) -> None:
        self._ticket, self._every_s = ticket, every_s
        self._error: ClaimLostError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._look, name="claim-watch", daemon=True)
        self._thread.start()

    def raise_if_lost(self) -> None:
        """Raise what the latest look found.

        Raises:
            ClaimLostError: The folder is another's.
        """
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the looks."""
        self._closed.set()

    def _look(self) -> None:
        while self._error is None and not self._closed.wait(self._every_s):
            try:
                with suppress(StorageError):  # the next look may succeed, and a checkpoint looks again
                    self._ticket.check()
            except ClaimLostError as error:
                self._error = error


def lost(folder: str, newest: ClaimFile) -> ClaimLostError:
    """The error of a process whose folder has another newest claim."""
    if newest.record is None:
        who = f"another process (its claim {newest.path.uri} does not read)"
    else:
        who = f"process {newest.record.pid} on {newest.record.host}"
    return ClaimLostError(
        f"{who} has taken over {folder}, because this process's claim was not renewed in time; this process ends and "
        "leaves the folder to it"
    )
