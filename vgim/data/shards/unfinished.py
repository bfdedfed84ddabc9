"""Why a shard folder is not complete: its preparation goes on, failed, or was interrupted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vgim.claims.claim import Claim
from vgim.claims.process import is_alive
from vgim.claims.record import newest_claim
from vgim.errors import StorageError, VgimError
from vgim.storage import Location
from vgim.text import shorten

FAILED_NAME = "failed.txt"
"""File in the folder of a preparation's records with the error that ended it; the next call deletes it."""


@contextmanager
def failures_noted(records: Location, held: Claim) -> Iterator[None]:
    """Note the error that ends the work inside, beside the records of what is finished.

    Args:
        records: The folder of records; without it nothing was begun, and nothing is noted.
        held: The claim of the shard folder. Once it is lost, nothing may be written.
    """
    try:
        yield
    except VgimError as error:
        with suppress(StorageError):
            if not held.is_lost and records.exists():
                records.child(FAILED_NAME).write_bytes_atomic(str(error).encode(errors="replace"))
        raise


def why_unfinished(folder: Location, records: Location, verb: str) -> str:
    """What became of a preparation whose records are left, in a clause with what to do.

    Args:
        folder: The shard folder.
        records: The folder of the preparation's records.
        verb: The verb of `vgim data` that began it.

    Raises:
        StorageError: The storage cannot be read.
    """
    newest = newest_claim(folder)
    if newest is not None and (claim := newest.record) is not None and not claim.released:
        alive = is_alive(claim.process)
        if alive or (alive is None and time.time() - claim.renewed < claim.lease_s):
            return f"process {claim.pid} on {claim.host} is preparing it; wait for it"
    failed = records.child(FAILED_NAME)
    if failed.exists():
        error = shorten(failed.read_bytes().decode(errors="replace"), 1000)
        return f"its preparation failed: {error}; then run `vgim data {verb}` again"
    again = f"run the same `vgim data {verb}` again, it goes on from the finished shards"
    return f"its preparation was interrupted; {again}"
