"""The one way in which a place on storage is written: an absolute path, or a URI."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from vgim.errors import StorageError
from vgim.secrets import NO_SECRETS, has_secret, mask_location


def normal_uri(text: str) -> str:
    """A path made absolute, or a URI without a slash at its end.

    Raises:
        StorageError: It is empty, holds a secret, or is a URI that names nothing.
    """
    if not text.strip():
        raise StorageError("the location is empty; give a path or a URI such as s3://bucket/folder")
    if has_secret(text):
        raise StorageError(f"the location {mask_location(text)} holds a password or key; {NO_SECRETS}")
    if "://" not in text:
        text = str(Path(os.path.abspath(os.path.expanduser(text))))  # noqa: PTH100, PTH111 (no symlinks)
    elif text.startswith("file://"):
        text = os.path.abspath(unquote(urlsplit(text).path))  # noqa: PTH100
    else:
        try:
            parts = urlsplit(text)
        except ValueError as error:  # brackets that are no IPv6 address
            raise StorageError(f"{text} is no URI ({error}); give one such as s3://bucket/folder") from None
        if not parts.netloc:
            raise StorageError(f"{text} names no bucket or host; give a URI such as s3://bucket/folder")
        text = parts._replace(path=parts.path.rstrip("/")).geturl()
    return text
