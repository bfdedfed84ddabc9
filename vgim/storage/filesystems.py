"""The pyarrow filesystem behind a path or URI. Each process opens it once."""

from __future__ import annotations

from functools import lru_cache

from pyarrow import ArrowException
from pyarrow import fs as pafs

from vgim.errors import StorageError
from vgim.storage.errors import storage_errors
from vgim.text import first_line


@lru_cache(maxsize=1)
def local_filesystem() -> pafs.FileSystem:
    return pafs.LocalFileSystem()


@lru_cache(maxsize=64)
def remote_filesystem(base: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem of `scheme://authority?query`, and the path of its root."""
    try:
        with storage_errors("open", base):
            filesystem, root = pafs.FileSystem.from_uri(base)
            return filesystem, str(root)
    except ArrowException as error:
        raise StorageError(
            f"cannot open {base}: {first_line(error)}; give a path or a URI such as s3://bucket/folder"
        ) from error
