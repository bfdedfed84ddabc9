"""The pyarrow filesystem behind a path or URI. Each process opens it once."""

from __future__ import annotations

import threading
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pyarrow import ArrowException
from pyarrow import fs as pafs

from vgim.errors import StorageError
from vgim.secrets import mask_secrets
from vgim.storage.errors import storage_errors
from vgim.storage.retry import with_retries
from vgim.text import first_line

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 15.0
"""Time without a byte after which a request to S3 has failed."""
ATTEMPTS_PER_REQUEST = 3
GCS_RETRY_LIMIT_S = 10.0
"""Time in which Google's client repeats one request, instead of its 15 minutes."""


@lru_cache(maxsize=1)
def local_filesystem() -> pafs.FileSystem:
    """The filesystem of this machine's paths."""
    return pafs.LocalFileSystem()


def remote_filesystem(base: str) -> tuple[pafs.FileSystem, str]:
    """The filesystem of `scheme://authority?query`, and the path of its root.

    Raises:
        StorageError: The URI is not understood, or the storage does not answer.
    """
    with _opening.setdefault(base, threading.Lock()):  # or threads that ask at once would each open one
        return _open_once(base)


_opening: dict[str, threading.Lock] = {}


@lru_cache(maxsize=64)
def _open_once(base: str) -> tuple[pafs.FileSystem, str]:
    try:
        with storage_errors("open", base):
            # Under another name than its operations: a filesystem may open without asking anybody.
            return with_retries(lambda: _open(base), action="open", uri=base, storage=f"opening {base}")
    except StorageError as error:
        if isinstance(error.__cause__, ArrowException):  # Arrow does not understand the URI
            raise StorageError(
                f"cannot open {base}: {mask_secrets(first_line(error.__cause__))}; give a path or a URI such as "
                "s3://bucket/folder"
            ) from error
        raise


def storage_of(uri: str) -> str:
    """A URI without its path, but with its query, which may hold the endpoint: what answers or does not."""
    return urlsplit(uri)._replace(path="", fragment="").geturl()


def _open(base: str) -> tuple[pafs.FileSystem, str]:
    filesystem, root = pafs.FileSystem.from_uri(base)
    if isinstance(filesystem, getattr(pafs, "S3FileSystem", ())):
        filesystem = _rebuilt(
            filesystem,
            allow_delayed_open=True,  # small files in one request, which may be repeated, instead of three
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=REQUEST_TIMEOUT_S,
            retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS_PER_REQUEST),
        )
    elif isinstance(filesystem, getattr(pafs, "GcsFileSystem", ())) and "retry_limit_seconds" not in parse_qs(
        urlsplit(base).query
    ):
        filesystem = _rebuilt(filesystem, retry_time_limit=timedelta(seconds=GCS_RETRY_LIMIT_S))
    return filesystem, str(root)


def _rebuilt(filesystem: pafs.FileSystem, **options: Any) -> pafs.FileSystem:
    """The same filesystem with other options; its URI has no keys for them."""
    rebuild, (current,) = filesystem.__reduce__()
    return rebuild({**current, **options})
