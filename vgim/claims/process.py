"""Which process a process id stood for: an id alone is used again by other processes, containers and machines."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

MAX_PID = 2**31 - 1
_BOOT_ID, _PID_NAMESPACE = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
_START_FIELD, _STATE_FIELD = 19, 0  # of /proc/PID/stat, counted from the field after the command's name
_ENDED = "ZX"  # states of a process that is dead, but whose parent has not asked for its exit code yet


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, told apart from all others on all machines."""

    host: str
    boot: str
    """Kernel's id of the machine's latest start; empty where there is no /proc."""
    pid_namespace: str
    """Namespace that `pid` belongs to; containers on one machine have different ones."""
    pid: int
    start: int
    """When the process started, in the kernel's clock ticks since the machine's start."""


def this_process() -> ProcessIdentity:
    """The identity of the calling process."""
    try:
        namespace = str(_PID_NAMESPACE.readlink())
    except OSError:
        namespace = ""
    stat = _stat(os.getpid())
    return ProcessIdentity(
        host=socket.gethostname(),
        boot=_boot_id(),
        pid_namespace=namespace,
        pid=os.getpid(),
        start=int(stat[_START_FIELD]) if stat else 0,
    )


def is_alive(process: ProcessIdentity) -> bool | None:
    """Whether a process is alive; None if that can't be seen from here.

    A process is seen if it has this process's boot id and namespace of process ids. A container that was started again
    on its machine has either another namespace, or the old one, whose processes have all ended.
    """
    here = this_process()
    if not here.boot and not process.boot and process.host == here.host:
        return None if pid_exists(process.pid) else False
    if not here.boot or (process.boot, process.pid_namespace) != (here.boot, here.pid_namespace):
        return None
    stat = _stat(process.pid)
    return stat is not None and stat[_STATE_FIELD] not in _ENDED and int(stat[_START_FIELD]) == process.start


def pid_exists(pid: int) -> bool:
    """Whether a process of this machine has the id; False for numbers that are no process ids."""
    if not 0 < pid <= MAX_PID:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_python_since(pid: int, timestamp: float) -> bool:
    """Whether a live process of this machine runs Python and started before a time, in seconds since 1970.

    Where there is no /proc, whether there is a process with the id.
    """
    if not pid_exists(pid):
        return False
    stat = _stat(pid)
    if stat is None:
        return not Path("/proc/self/stat").exists() and pid_exists(pid)
    if stat[_STATE_FIELD] in _ENDED or "python" not in _command_of(pid):
        return False
    uptime_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    started = time.time() - uptime_s + int(stat[_START_FIELD]) / os.sysconf("SC_CLK_TCK")
    return (
        started <= timestamp + 2.0
    )  # both times are rounded, and the clock may have been corrected a little


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat after the command's name: the name may hold spaces and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
