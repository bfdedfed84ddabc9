"""Operations on files that a process makes, counted, so that a fault can stand before any one of them.

`install` replaces the functions of this process through which vgim and its libraries write: `open`, `os`, and Arrow's
local file system. It is meant for forked processes, and is never undone.
"""

# These are the functions that pathlib calls.
# ruff: noqa: PTH117, PTH118, PTH100

from __future__ import annotations

import builtins
import io
import os
import signal
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


@dataclass(frozen=True)
class Operation:
    """One operation on a file or folder."""

    kind: str
    """open, write, sync, rename, link, delete, mkdir, rmdir or truncate; read for opening a file to read it."""
    path: str
    """Path below the watched folder."""

    @property
    def changes(self) -> bool:
        """Whether the operation changes storage."""
        return self.kind not in ("read", "sync")

    def __str__(self) -> str:
        return f"{self.kind} {self.path}"


Hook = Callable[[int, Operation], "str | None"]
"""Called with the number of an operation, from 0, and the operation, before it is made. It may raise an OSError, or
return `TORN` for a write that ends halfway, and the process with it."""
TORN = "torn"


@dataclass
class Watch:
    """Counts operations below a folder."""

    root: str
    hook: Hook
    count: int = 0
    lock: Any = field(default_factory=threading.RLock)
    in_hook: bool = False

    def inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        """Path below the folder, or None for a path elsewhere."""
        if isinstance(path, int):
            try:
                path = REAL_READLINK(f"/proc/self/fd/{path}")
            except OSError:
                return None
        text = os.fsdecode(os.fspath(path))
        if dir_fd is not None and not os.path.isabs(text):
            text = os.path.join(REAL_READLINK(f"/proc/self/fd/{dir_fd}"), text)
        text = os.path.abspath(text)
        return os.path.relpath(text, self.root) if text.startswith(self.root + os.sep) else None

    def at(self, kind: str, path: Any, dir_fd: int | None = None) -> str | None:
        """Count an operation that is about to be made; returns what the hook returned."""
        below = self.inside(path, dir_fd)
        if below is None:
            return None
        with self.lock:
            if self.in_hook:  # what the hook itself does to files is no operation of the process
                return None
            number, self.count = self.count, self.count + 1
            self.in_hook = True
            try:
                return self.hook(number, Operation(kind, below))
            finally:
                self.in_hook = False


REAL_READLINK = os.readlink
REAL_OPEN = io.open
_REAL = {
    name: getattr(os, name)
    for name in (
        "open",
        "write",
        "fsync",
        "rename",
        "replace",
        "link",
        "unlink",
        "remove",
        "mkdir",
        "rmdir",
        "truncate",
    )
}


def install(root: Path, hook: Hook) -> Watch:
    """Call `hook` before every operation below `root` in this process."""
    from tests.chaos.arrow_files import use_watched_files

    watch = Watch(str(root), hook)
    _install_os(watch)
    _install_open(watch)
    use_watched_files(watch)
    return watch


def _install_os(watch: Watch) -> None:
    def os_open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if flags & WRITING:
            watch.at("open", path, dir_fd)
        return _REAL["open"](path, flags, mode, dir_fd=dir_fd)

    def os_write(fd: int, data: Any) -> int:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            watch.at("write", fd)
        return _REAL["write"](fd, data)

    def os_fsync(fd: Any) -> None:
        watch.at(
            "sync", fd if isinstance(fd, int) else fd.fileno()
        )  # tests need no disk that survives a power cut

    def renaming(name: str) -> Callable[..., None]:
        def call(source: Any, target: Any, **options: Any) -> None:
            watch.at("rename", target, options.get("dst_dir_fd"))
            _REAL[name](source, target, **options)

        return call

    def simple(name: str, kind: str) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **options: Any) -> Any:
            watch.at(kind, path, options.get("dir_fd"))
            return _REAL[name](path, *rest, **options)

        return call

    def link(source: Any, target: Any, **options: Any) -> None:
        watch.at("link", target, options.get("dst_dir_fd"))
        _REAL["link"](source, target, **options)

    os.open, os.write, os.fsync, os.link = os_open, os_write, os_fsync, link  # type: ignore[assignment]
    os.rename, os.replace = renaming("rename"), renaming("replace")
    os.unlink, os.remove = simple("unlink", "delete"), simple("remove", "delete")
    os.mkdir, os.rmdir = simple("mkdir", "mkdir"), simple("rmdir", "rmdir")
    os.truncate = simple("truncate", "truncate")


def _install_open(watch: Watch) -> None:
    class CountedFile(io.FileIO):
        def write(self, data: Any) -> Any:
            if watch.at("write", self.fileno()) == TORN:
                super().write(bytes(data)[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return super().write(data)

        def truncate(self, size: int | None = None) -> int:
            watch.at("truncate", self.fileno())
            return super().truncate(size)

    def counted_open(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        if watch.inside(file) is None:
            return REAL_OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not set(mode) & set("wax+"):
            watch.at("read", file)
            return REAL_OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        if not isinstance(file, int) and opener is None:
            watch.at("open", file)
        raw = CountedFile(file, mode.replace("b", "").replace("t", ""), closefd, opener)
        if buffering == 0:
            return raw
        size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
        buffer = io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)
        if "b" in mode:
            return buffer
        text = io.TextIOWrapper(buffer, encoding, errors, newline, line_buffering=buffering == 1)
        text.mode = mode  # type: ignore[misc]
        return text

    builtins.open = io.open = counted_open  # type: ignore[assignment]
