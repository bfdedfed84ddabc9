"""`RUN/stop-request.json`: asks whoever trains a run, on any machine, to write a checkpoint and stop.

The command that a signal reached writes it, and the rank that writes checkpoints looks for it. Any file of this name
asks for a stop, so that `touch RUN/stop-request.json` does, too.
"""

from __future__ import annotations

import json
import signal

from vgim.runs.environment import utc_now
from vgim.runs.layout import STOP_REQUEST
from vgim.storage import Location


def ask_to_stop(folder: Location, signal_number: int) -> None:
    """Ask the training of a run, or of all runs of a sweep, to stop.

    Args:
        folder: folder of the run or the sweep.
        signal_number: the signal that is the reason.

    Raises:
        StorageError: The storage cannot be written.
    """
    request = {"signal": signal_number, "time": utc_now()}
    folder.child(STOP_REQUEST).write_bytes_atomic(json.dumps(request).encode())


def requested_stop(folder: Location) -> int:
    """The signal for which a folder's training is asked to stop; 0 if it is not, SIGTERM where the file does not say.

    Raises:
        StorageError: The storage cannot be read.
    """
    path = folder.child(STOP_REQUEST)
    if not path.exists():
        return 0
    try:
        number = json.loads(path.read_bytes())["signal"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return int(signal.SIGTERM)
    known = isinstance(number, int) and number in set(signal.Signals)
    return int(number) if known else int(signal.SIGTERM)


def withdraw_stop_request(folder: Location) -> None:
    """Remove a folder's request to stop, if there is one."""
    folder.child(STOP_REQUEST).delete()
