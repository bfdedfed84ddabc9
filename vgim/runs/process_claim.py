"""The file in which a process says that it works on a folder of several runs: a sweep's or an experiment's."""

from __future__ import annotations

import json
import os
import socket

from vgim.runs.environment import package_versions, utc_now
from vgim.runs.folder import process_is_alive
from vgim.storage import Location


def write_claim(path: Location) -> None:
    """Write this process into a claim's file, in place of any other."""
    record = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": utc_now(),
        "versions": package_versions(),
    }
    path.write_bytes_atomic(json.dumps(record, indent=1).encode())


def claiming_process(path: Location) -> int | None:
    """Process id of another live process on this machine that has written the claim; None if there is none."""
    if not path.exists():
        return None
    try:
        known = json.loads(path.read_bytes())
        pid = int(known["pid"])
        alive = pid != os.getpid() and process_is_alive(known["host"], pid)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None  # claims are written atomically: what does not read is the claim of no process
    return pid if alive else None
