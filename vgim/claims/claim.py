"""Claim a folder for this process, keep the claim while the process works, and release it.

Claims are numbered. To take over claim n is to make claim n + 1, which only one process can; the others read who did.
A holder renews its claim every RENEW_S; the claim is good for LEASE_S after that. What another process makes of it:

- The holder's process can be seen, because it is on the same machine and in the same container: it is alive or not,
  whatever its lease.
- It can't be seen: the claim is taken over when its lease has run out. The age of a claim is the difference of two
  times that the storage gave to files, so that clocks that differ do no harm. A claim within its lease is watched for
  as long as the lease: if it is renewed, the folder is refused.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from vgim.claims.process import is_alive, this_process
from vgim.claims.record import ClaimFile, ClaimRecord, claim_numbers, claim_path, newest_claim
from vgim.claims.ticket import RENEW_S, ClaimHeldError, ClaimLostError, ClaimTicket, Work
from vgim.errors import StorageError
from vgim.storage import Location
from vgim.storage.exclusive import delete_among_others

LEASE_S = 90.0
"""Seconds for which other machines respect a claim that is not renewed."""
RETRY_S = 5.0
"""Seconds until a renewal that failed is tried again."""
RELEASE_WAIT_S = 30.0
"""Seconds for which a release waits for a renewal that storage does not answer; the lease ends the claim then."""
SETTLE_S = 1.0
"""Seconds after which a claim that does not read is read again: not all storage shows files whole or not at all."""
LOOK_S = 1.0
"""Seconds between two looks at a claim that is watched."""

Say = Callable[[str], None]

_own_tokens: set[str] = set()
"""Tokens of the claims that this process holds: a claim of this process with another token was forgotten by it."""


def say_aloud(line: str) -> None:
    """Print a line at once, for a user who waits."""
    print(line, flush=True)


class Claim:
    """A folder that this process holds; a context manager that releases it. Made by `take_claim`."""

    def __init__(self, folder: Location, number: int, record: ClaimRecord, renew_s: float) -> None:
        self._folder, self._number, self._record, self._renew_s = folder, number, record, renew_s
        self._lost: ClaimLostError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_renewing, name="claim", daemon=True)
        self._thread.start()

    @property
    def ticket(self) -> ClaimTicket:
        """The claim as text, for workers."""
        return ClaimTicket(self._folder.uri, self._number, self._record.token)

    @property
    def is_lost(self) -> bool:
        """Whether a renewal found that another process has taken over the folder."""
        return self._lost is not None

    def raise_if_lost(self) -> None:
        """Raise what the latest renewal found; costs nothing.

        Raises:
            ClaimLostError: Another process has taken over the folder.
        """
        if self._lost is not None:
            raise self._lost

    def renew(self) -> None:
        """Write that this process still works on the folder.

        Raises:
            ClaimLostError: Another process has taken over the folder.
            StorageError: The claim cannot be written.
        """
        self._write(released=False)

    def release(self) -> None:
        """Say that this process has ended its work. A claim that was lost is left alone."""
        self._ended.set()
        self._thread.join(RELEASE_WAIT_S)
        try:
            if self._lost is None and not self._thread.is_alive():
                with suppress(
                    ClaimLostError, StorageError
                ):  # on a full disk, the process's end releases the claim
                    self._write(released=True)
        finally:
            _own_tokens.discard(self._record.token)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _write(self, *, released: bool) -> None:
        ticket = self.ticket
        ticket.check()
        if self._folder.is_local and not self._folder.exists():  # writing would make it anew
            raise StorageError(f"cannot renew the claim of {self._folder.uri}: the folder was deleted")
        self._record = self._record.model_copy(update={"renewed": time.time(), "released": released})
        claim_path(self._folder, self._number).write_bytes_atomic(self._record.to_bytes())
        ticket.check()  # another process may have taken the folder over while this one wrote

    def _keep_renewing(self) -> None:
        wait_s, renewed, warned = self._renew_s, time.monotonic(), False
        while not self._ended.wait(wait_s):
            try:
                self.renew()
                wait_s, renewed, warned = self._renew_s, time.monotonic(), False
            except StorageError as error:
                wait_s = min(self._renew_s, RETRY_S)
                if not warned and time.monotonic() - renewed > self._record.lease_s:
                    warned = True
                    print(
                        f"warning: the claim of {self._folder.uri} could not be renewed for "
                        f"{self._record.lease_s:g} s, so that another machine may take it over: {error}",
                        file=sys.stderr,
                        flush=True,
                    )
            except ClaimLostError as error:
                self._lost = error
                return


def take_claim(
    folder: Location, work: Work, *, lease_s: float = LEASE_S, renew_s: float = RENEW_S, say: Say = say_aloud
) -> Claim:
    """Claim a folder, which is made if it is missing. Of several processes that try at once, one succeeds.

    Args:
        work: What the folder is claimed for.
        lease_s: Seconds after each renewal for which processes on other machines respect the claim.
        renew_s: Seconds between two renewals.
        say: Prints a line: that a claim is watched, or taken over from another machine.

    Returns:
        The claim, to be used in a `with` statement.

    Raises:
        ClaimHeldError: Another live process holds the folder.
        StorageError: The folder cannot be written.
    """
    token = uuid.uuid4().hex
    while True:
        newest = newest_claim(folder)
        if newest is not None and not _is_free(folder, newest, work, say):
            continue
        number = newest.number + 1 if newest is not None else 1
        record = ClaimRecord.of(this_process(), token, lease_s)
        _own_tokens.add(token)  # before another thread can read the claim
        try:
            made = claim_path(folder, number).create_exclusive(record.to_bytes())
            numbers = claim_numbers(folder) if made else []
        except BaseException:
            _own_tokens.discard(token)
            raise
        # Others may have made newer claims, and removed theirs of this number, since it was read as the newest.
        if made and numbers[-1:] == [number]:
            for old in numbers[:-1]:
                delete_among_others(claim_path(folder, old))
            return Claim(folder, number, record, renew_s)
        _own_tokens.discard(token)
        if made:
            delete_among_others(claim_path(folder, number))


def holder_seen(folder: Location) -> ClaimRecord | None:
    """The newest claim of a folder, if its process can be seen from here and is alive."""
    newest = newest_claim(folder)
    if newest is None or newest.record is None or newest.record.released:
        return None
    return newest.record if is_held(newest.record) else None


def is_held(record: ClaimRecord) -> bool | None:
    """Whether a claim's process is alive and has not released it; None if the process can't be seen from here."""
    if record.released:
        return False
    if record.process == this_process():
        return record.token in _own_tokens
    return is_alive(record.process)


def held(folder: Location, record: ClaimRecord, work: Work) -> ClaimHeldError:
    """The error of a folder that another live process holds."""
    here = this_process()
    where = "" if record.host == here.host else f" on {record.host}"
    return ClaimHeldError(
        f"process {record.pid}{where} is {work.doing} {folder.uri}; wait for it, stop it, or {work.instead}"
    )


def _is_free(folder: Location, newest: ClaimFile, work: Work, say: Say) -> bool:
    """Whether a folder can be taken over from its newest claim; False if there is a newer one by now.

    Raises:
        ClaimHeldError: The claim's process is alive.
    """
    record = newest.record
    if record is None:
        time.sleep(SETTLE_S)
        if newest_claim(folder) != newest:
            return False
        say(f"{newest.path.uri} does not read as a claim ({newest.problem}); taking {folder.uri} over")
        return True
    alive = is_held(record)
    if alive:
        raise held(folder, record, work)
    if alive is False:
        return True
    age_s = _age_s(newest)
    who = f"process {record.pid} on {record.host}"
    if age_s is not None and age_s > record.lease_s:
        say(f"{who} has not renewed its claim of {folder.uri} for {age_s:,.0f} s; taking it over")
        return True
    say(
        f"{who} claimed {folder.uri} and can't be seen from here; waiting up to {record.lease_s:g} s to see whether it "
        "still works on it"
    )
    end = time.monotonic() + record.lease_s
    while time.monotonic() < end:
        time.sleep(min(LOOK_S, record.lease_s / 10))
        now = newest_claim(folder)
        if now is None or now.number != newest.number:
            return False
        if now.record is not None and now.record.released:
            return True
        if now.content != newest.content:
            raise held(folder, record, work)
    say(f"{who} has not renewed its claim of {folder.uri} for {record.lease_s:g} s; taking it over")
    return True


def _age_s(claim: ClaimFile) -> float | None:
    """Seconds between the writing of a claim and now, both by the storage's clock; None if storage tells no times."""
    probe = claim.path.parent.child(f"now-{uuid.uuid4().hex}")
    try:
        probe.write_bytes_atomic(b"")
        now, then = probe.modified_at(), claim.path.modified_at()
    finally:
        delete_among_others(probe)
    return None if now is None or then is None else now - then
