"""Claims of runs, and of folders of several runs. Folders that an older vgim works on are judged by their records."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from datetime import datetime

from vgim.claims.claim import Claim, held, is_held, take_claim
from vgim.claims.process import is_python_since, this_process
from vgim.claims.record import ClaimFile, newest_claim
from vgim.claims.ticket import ClaimHeldError, Work
from vgim.errors import StorageError
from vgim.runs.environment import package_versions, utc_now
from vgim.storage import Location

TRAINING = Work("training the run", "use another storage.name")


def claim_run(run: Location) -> Claim:
    """Claim a run's folder; see `take_claim`."""
    return take_claim(run, TRAINING)


@dataclass(frozen=True)
class RecordedProcess:
    """The process in a folder's own record, which is all that an older vgim writes."""

    host: str
    pid: int
    since: str
    """A time at which the process ran, in ISO 8601."""

    def is_alive(self) -> bool:
        """Whether the process runs on this machine; a process that started later has only got the same id."""
        return self.host == socket.gethostname() and is_python_since(self.pid, _seconds(self.since))


def refuse_seen_holder(folder: Location, work: Work, recorded: RecordedProcess | None) -> None:
    """Refuse a folder that another live process on this machine works on, as far as that is seen without waiting.

    Args:
        recorded: The process that the folder's own record says to work on it; None if it says that none does.

    Raises:
        ClaimHeldError: Another process works on the folder.
    """
    newest = newest_claim(folder)
    if newest is not None and newest.record is not None:
        if newest.record.process != this_process() and is_held(newest.record):
            raise held(folder, newest.record, work)
        if recorded is not None and is_claim_of(newest, recorded):
            return
    if recorded is not None and recorded.pid != os.getpid() and recorded.is_alive():
        raise ClaimHeldError(
            f"process {recorded.pid} is {work.doing} {folder.uri}; wait for it, stop it, or {work.instead}"
        )


def is_claim_of(newest: ClaimFile, recorded: RecordedProcess) -> bool:
    """Whether a claim was made by the process that a folder's own record names."""
    record = newest.record
    return record is not None and (record.host, record.pid) == (recorded.host, recorded.pid)


def write_process_record(path: Location) -> None:
    """Write this process into the file that older versions of vgim read, in place of any other."""
    record = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": utc_now(),
        "versions": package_versions(),
    }
    path.write_bytes_atomic(json.dumps(record, indent=1).encode())


def refuse_recorded_holder(folder: Location, record: Location, work: Work) -> None:
    """Refuse a folder of several runs on which a live process on this machine works.

    Args:
        record: The file that `write_process_record` writes.

    Raises:
        ClaimHeldError: Another process works on the folder.
    """
    recorded = None
    try:
        if record.exists():
            known = json.loads(record.read_bytes())
            recorded = RecordedProcess(str(known["host"]), int(known["pid"]), str(known.get("started", "")))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, StorageError):
        pass  # it is written whole, so that what does not read is the record of no process
    refuse_seen_holder(folder, work, recorded)


def _seconds(text: str) -> float:
    """Seconds since 1970; now for a text that is no time."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return time.time()
