"""A remote file for reading that survives lost connections."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pyarrow import ArrowException

Attempt = Callable[[Callable[[], Any]], Any]


class RemoteInput(io.RawIOBase):
    """A seekable file. A read that fails is repeated on a newly opened file, at the same place.

    Args:
        open_file: Opens the file as a pyarrow.NativeFile.
        attempt: Calls a function until it succeeds, or raises StorageError.
    """

    def __init__(self, open_file: Callable[[], Any], attempt: Attempt) -> None:
        super().__init__()
        self._open_file = open_file
        self._attempt = attempt
        self._file: Any = None
        self._position = 0
        self._size: int = attempt(lambda: int(self._opened().size()))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read `size` bytes, or fewer at the end of the file; without a size, the rest of it."""
        rest = max(self._size - self._position, 0)
        wanted = rest if size is None or size < 0 else min(size, rest)
        data = b"" if not wanted else self._attempt(lambda: self._read_here(wanted))
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._forget()
        super().close()

    def _opened(self) -> Any:
        if self._file is None:
            self._file = self._open_file()
        return self._file

    def _read_here(self, wanted: int) -> bytes:
        try:
            data = bytes(self._opened().read_at(wanted, self._position))
        except (OSError, ArrowException):
            self._forget()
            raise
        if len(data) < wanted:
            self._forget()
            raise OSError(errno.EIO, f"{len(data)} of {wanted} bytes came")
        return data

    def _forget(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError, ArrowException):
                file.close()
