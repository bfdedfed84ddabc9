"""Processes that are forked from one that has imported everything, so that a command starts in milliseconds."""

from __future__ import annotations

import atexit
import io
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.005
TIMEOUT_S = 180.0
MEMORY_LIMIT_BYTES = 4 * 1024**3
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    code: int
    """Exit code; negative for the signal that killed the process."""
    out: str
    err: str
    seconds: float
    stopped: str = ""
    """Why the process was stopped from outside: it ran for too long, or took too much memory."""

    @property
    def text(self) -> str:
        """What the command printed."""
        return self.out + self.err


@dataclass(frozen=True)
class Child:
    """A forked process that runs a command."""

    pid: int
    out: Path
    err: Path
    started: float

    def wait(self, timeout_s: float = TIMEOUT_S) -> Outcome:
        """Wait for the process's end; kill it and all that it started if it takes too long or too much memory."""
        stopped, code, next_look = "", 0, 0.0
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            now = time.monotonic()
            if not stopped and now > self.started + timeout_s:
                stopped = f"still running after {timeout_s:.0f} s"
            elif not stopped and now > next_look:
                next_look = now + 0.1
                if _resident_bytes(self.pid) > MEMORY_LIMIT_BYTES:
                    stopped = f"more than {MEMORY_LIMIT_BYTES >> 30} GiB of memory"
            if stopped:
                _kill_group(self.pid)
            time.sleep(POLL_S)
        seconds = time.monotonic() - self.started
        _kill_group(self.pid)
        texts = [file.read_text(errors="replace") for file in (self.out, self.err)]
        return Outcome(code, texts[0], texts[1], seconds, stopped)


def fork(
    function: Callable[[], None],
    folder: Path,
    scratch: Path,
    *,
    name: str = "command",
    argv: Sequence[str] = (),
) -> Child:
    """Run a function in a forked process, in a folder; the function's `SystemExit` is the process's exit code.

    Args:
        folder: Working folder of the process.
        scratch: Folder for what the process prints.
        name: Name of these files.
        argv: `sys.argv` of the process.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    out, err = scratch / f"{name}.out", scratch / f"{name}.err"
    if threading.active_count() > 1:
        raise RuntimeError("a process with threads cannot be forked")
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid:
        return Child(pid, out, err, started)
    try:
        os.setpgid(0, 0)
        _redirect(out, err)
        os.chdir(folder)
        sys.argv = ["vgim", *argv]
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        _exit(_call(function))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)  # no frame of the parent may go on in the child


def _call(function: Callable[[], None]) -> int:
    try:
        function()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except KeyboardInterrupt:
        traceback.print_exc()
        return 130
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _exit(code: int) -> None:
    """End the process as the interpreter would: join threads, call what was registered for the exit, flush."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or 120  # the interpreter's own code
    os._exit(code)


def _redirect(out: Path, err: Path) -> None:
    for file, number in ((out, 1), (err, 2)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
