"""What a command prints, to a reader that may go away: `vgim runs | head -1`, a full disk under a log, a lost terminal.

Output that cannot be written is dropped, and the command's work goes on to its end.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

NUMBERS = (1, 2)
"""File descriptors of standard output and standard error."""
READER_GONE = (errno.EPIPE, errno.EIO)
"""Errors of a pipe whose reader has ended and of a terminal that was closed: nobody waits for the output."""


class LossyFile(io.FileIO):
    """A file that drops what cannot be written, and keeps the first error."""

    error: OSError | None = None

    def write(self, data: Any, /) -> Any:
        """Write data, or drop it; returns the number of bytes."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


@contextmanager
def lossy_output() -> Iterator[LossyFile | None]:
    """Drop output of this process that cannot be written, until the context ends.

    Standard streams that were closed (`>&-`) are opened on the null device, so that no file of the command gets their
    numbers.

    Yields:
        The file of the standard output; None if the output goes elsewhere, as in tests.
    """
    _open_missing_streams()
    before = sys.stdout, sys.stderr
    files = [_lossy_file(stream) for stream in before]
    sys.stdout, sys.stderr = (
        stream if file is None else _text(file, stream) for stream, file in zip(before, files, strict=True)
    )
    try:
        yield files[0]
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def loss(out: LossyFile | None) -> str:
    """A line on standard output that could not be written; empty if nothing was lost, or if nobody reads it."""
    sys.stdout.flush()
    if out is None or out.error is None or out.error.errno in READER_GONE:
        return ""
    return (
        f"the command's work is done, but its output could not be written ({out.error.strerror}); make room or send "
        "it elsewhere, and run the command again to see it"
    )


def _open_missing_streams() -> None:
    while (number := os.open(os.devnull, os.O_RDWR)) <= max(NUMBERS):
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)


def _lossy_file(stream: TextIO) -> LossyFile | None:
    """The stream's file, if it is one of the process's own."""
    if not isinstance(stream, io.TextIOWrapper):
        return None
    try:
        number = stream.fileno()
    except (OSError, ValueError):
        return None
    return LossyFile(number, "w", closefd=False) if number in NUMBERS else None


def _text(file: LossyFile, like: TextIO) -> TextIO:
    unbuffered = isinstance(like, io.TextIOWrapper) and like.write_through  # `python -u`
    return io.TextIOWrapper(
        file if unbuffered else io.BufferedWriter(file),
        encoding=like.encoding,
        errors=like.errors,
        line_buffering=like.isatty() or file.fileno() == NUMBERS[1],
        write_through=unbuffered,
    )
