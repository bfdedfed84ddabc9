"""JSON objects that carry the SHA-256 of their own content, so that a changed digit is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

CHECKSUM = "checksum"
"""Key of the SHA-256 over the canonical JSON of the other keys."""


class SealBroken(ValueError):  # noqa: N818 (a reason, which callers put into their own errors)
    """Bytes that are no JSON object, or whose checksum is not the checksum of their content."""


def dump_sealed(content: Mapping[str, Any]) -> bytes:
    """An object as indented JSON, with its checksum as the last key."""
    plain = json.loads(json.dumps(content))
    return json.dumps({**plain, CHECKSUM: checksum_of(plain)}, indent=2).encode()


def load_sealed(data: bytes) -> tuple[dict[str, Any], bool]:
    """Read an object, and check its checksum if it has one.

    Returns:
        The object without its checksum, and whether it had one.

    Raises:
        SealBroken: The bytes are no JSON object, or the checksum is another.
    """
    if not data.strip():
        raise SealBroken("it is empty")
    try:
        content = json.loads(data)
    except (
        ValueError,
        RecursionError,
    ):  # also for bytes that are not UTF-8, and for integers too long to read
        raise SealBroken("it is no JSON") from None
    if not isinstance(content, dict):
        raise SealBroken("it is no JSON object")
    found = content.pop(CHECKSUM, None)
    if found is not None and found != checksum_of(content):
        raise SealBroken("its checksum is not that of its content")
    return content, found is not None


def checksum_of(content: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of an object: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
