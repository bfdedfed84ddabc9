"""Files that are made only if they do not exist yet: of several processes that make one, one succeeds.

Local file systems, NFS included, decide it themselves: `link` fails for a name that exists. pyarrow offers no
conditional write on object storage, so that processes announce there what they are about to write.
"""

from __future__ import annotations

import errno
import os
import random
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from vgim.errors import StorageError
from vgim.storage.atomic import locked_temporary, sync_folder

INTENT_MARK = ".intent-"
"""Part of the name of a file that announces the making of another."""
INTENT_LIFE_S = 60.0
"""An intent that is seen for so long was left by a killed process, and is removed."""
INTENT_USE_S = 15.0
"""A process that has not begun to write so long after its intent gives the intent up, since others may remove it."""
GIVE_UP_S = 300.0
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Target(Protocol):
    """The part of a `Location` that making a file by intents uses."""

    @property
    def uri(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def parent(self) -> Target: ...
    def child(self, *parts: str) -> Target: ...
    def list(self) -> list[str]: ...
    def exists(self) -> bool: ...
    def read_bytes(self) -> bytes: ...
    def write_bytes_atomic(self, data: bytes) -> None: ...
    def delete(self) -> None: ...


def create_by_link(path: Path, data: bytes) -> bool:
    """Make a local file with `data`, whole or not at all; False if there is one of that name.

    The content is written beside the target and linked to its name. A file system without links gets the file by an
    exclusive open, which a crash can leave half-written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked_temporary(path) as (temporary, out):
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            # NFS repeats a request whose answer was lost, and then finds its own link.
            if temporary.stat().st_nlink < 2:
                return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_by_open(path, data)
    sync_folder(path.parent)
    return True


def _create_by_open(path: Path, data: bytes) -> bool:
    try:
        with path.open("xb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except FileExistsError:
        return False
    return True


def create_by_intent(
    target: Target,
    data: bytes,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Make a file with `data` on storage that has no conditional write; False if there is one of that name.

    The storage must show a finished write, and a finished removal, to every later look-up and listing, as S3, Google
    Cloud Storage and Azure do. A process (1) writes an intent, a file of a random name; (2) lists the folder, and
    withdraws for a random time if it sees the intent of another; (3) looks whether the target exists; (4) writes the
    target; (5) removes its intent.

    Two processes A and B cannot both write. Say that A's intent was written before B's. B lists after it wrote its
    own, so that B's listing shows A's intent unless A has removed it. If it shows it, B withdraws. If A has removed
    it, A either withdrew, or wrote the target before, which B then finds in (3).

    A killed process leaves its intent. Others remove it after INTENT_LIFE_S by their own clocks. A process that was
    only suspended notices that its intent is older than INTENT_USE_S and starts again. What remains is a suspension
    for most of a minute between that look at the clock and the end of the write: the target is read back, so that two
    writers agree on the one whose content stands.

    Args:
        data: The content, which must differ from what any other process would write.
        clock: Seconds that never go back.
        sleep: Waits for a number of seconds.

    Raises:
        StorageError: Storage fails, or the intents of others do not cease for GIVE_UP_S.
    """
    folder, prefix = target.parent, f"{target.name}{INTENT_MARK}"
    first_seen: dict[str, float] = {}
    started, pause_s = clock(), 0.05
    while clock() - started < GIVE_UP_S:
        if target.exists():
            return False
        intent = folder.child(prefix + uuid.uuid4().hex)
        written = clock()
        intent.write_bytes_atomic(b"")
        try:
            others = [name for name in folder.list() if name.startswith(prefix) and name != intent.name]
            if not others:
                if target.exists():
                    return False
                if clock() - written < INTENT_USE_S:
                    target.write_bytes_atomic(data)
                    return target.read_bytes() == data
        finally:
            delete_among_others(intent)
        now = clock()
        first_seen = {name: first_seen.get(name, now) for name in others}
        for name, since in first_seen.items():
            if now - since >= INTENT_LIFE_S:
                delete_among_others(folder.child(name))
        sleep(random.uniform(0, pause_s))
        pause_s = min(2 * pause_s, 5.0)
    raise StorageError(
        f"cannot make {target.uri}: other processes have been about to make it for {GIVE_UP_S:g} s; run the "
        "command again"
    )


def delete_among_others(file: Target) -> None:
    """Delete a file that another process may delete in the same instant.

    Raises:
        StorageError: The file is still there.
    """
    try:
        file.delete()
    except StorageError:
        if file.exists():
            raise
