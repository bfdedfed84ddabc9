"""What the records of a shard folder say of a file that is no shard."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict


class FileEntry(BaseModel):
    """Size and hash of a file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    bytes: int
    sha256: str


def file_entry(data: bytes) -> FileEntry:
    """The entry of a file with this content."""
    return FileEntry(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
