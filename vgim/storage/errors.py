"""Failures of storage in one line: what was tried, on which file, why it failed, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vgim.errors import StorageError
from vgim.secrets import mask_secrets
from vgim.storage.causes import WRITE_ELSEWHERE, is_of_arrow, reason_and_fix

HUB_CLIENTS = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "hf_xet")
"""Packages behind hf://, whose errors are no OSErrors."""

_READING = frozenset({"read", "list", "look up"})


@contextmanager
def storage_errors(
    action: str, uri: str, *, kinds: tuple[type[Exception], ...] | None = None
) -> Iterator[None]:
    """Turn an error of `action` on `uri` into a StorageError with reason and fix.

    Args:
        action: What is done: `read`.
        uri: The file or folder that it is done to.
        kinds: Errors to turn; None for OSError and errors of Arrow. Where callers' code runs inside, an error of Arrow
            may be a defect of that code.

    Raises:
        StorageError: The `with` block raised an error of `kinds`.
    """
    try:
        yield
    except Exception as error:
        if is_of_arrow(error, "ArrowCancelled"):  # Ctrl-C
            raise
        is_turned = isinstance(error, kinds or OSError) or (kinds is None and is_of_arrow(error))
        if not is_turned and not _is_of_a_client(error, uri):
            raise
        reason, fix = reason_and_fix(error, is_remote="://" in uri)
        if fix == WRITE_ELSEWHERE and action in _READING:
            fix = "check its permissions"
        tried = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
        raise StorageError(f"cannot {action} {mask_secrets(uri)}: {reason}{tried}; {fix}") from error


def _is_of_a_client(error: Exception, uri: str) -> bool:
    """Whether an error comes from the client of a filesystem, and not from a defect."""
    return uri.startswith("hf://") and (
        type(error).__module__.partition(".")[0] in HUB_CLIENTS or isinstance(error, ValueError)
    )
