"""Read and write whole files through a pyarrow filesystem."""

from __future__ import annotations

import ctypes
import errno
from contextlib import suppress
from typing import IO, Any

from pyarrow import ArrowException
from pyarrow import fs as pafs

from vgim.storage.files import COPY_CHUNK_BYTES


def read_whole(filesystem: pafs.FileSystem, path: str) -> bytes:
    """The content of a file.

    Raises:
        OSError: The file cannot be read, or its end did not come.
    """
    with filesystem.open_input_file(path) as file:
        size = file.size()
        data = bytes(file.read())
    if len(data) < size:
        raise OSError(errno.EIO, f"{len(data)} of {size} bytes came")
    return data


def write_whole(filesystem: pafs.FileSystem, path: str, source: IO[bytes]) -> None:
    """Write a file from what is left of another.

    Raises:
        OSError: The file cannot be written. On object stores it may then be there in part.
    """
    sink = filesystem.open_output_stream(path)
    try:
        while chunk := source.read(COPY_CHUNK_BYTES):
            _write(sink, chunk)
    except BaseException:
        _abandon(sink)
        raise
    sink.close()


def _write(sink: Any, chunk: bytes) -> None:
    try:
        sink.write(chunk)
    except (OSError, ArrowException):
        with suppress(OSError, ArrowException):  # the first error is the one to report
            sink.close()  # which publishes nothing on S3 after a part that failed
        raise


def _abandon(sink: Any) -> None:
    """Keep a stream for ever whose source failed or was interrupted.

    Arrow cannot cancel a stream: closing it, which its destructor does too, publishes half a file.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(sink))  # a list would be cleared as Python ends
