"""Read and write whole files through a pyarrow filesystem."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from typing import IO

from pyarrow import ArrowException
from pyarrow import fs as pafs

COPY_CHUNK_BYTES = 8 * 1024 * 1024


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
        shutil.copyfileobj(source, sink, COPY_CHUNK_BYTES)
    except BaseException:
        with suppress(OSError, ArrowException):  # the first error is the one to report
            sink.close()
        raise
    sink.close()
