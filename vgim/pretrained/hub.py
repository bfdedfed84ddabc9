"""Encoders on a hub that speaks Hugging Face's protocol: where they are, how they are pulled, and what its errors mean.

The address is $HF_ENDPOINT, the token $HF_TOKEN or that of `hf auth login`; vgim reads, prints and stores no token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vgim.errors import CheckpointError, ConfigError, StorageError
from vgim.storage import Location
from vgim.storage.errors import HUB_CLIENTS
from vgim.text import first_line, shorten

HUB = "hf://"
MISSING = "needs the package huggingface_hub; pip install 'vgim[hub]'"
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TOKEN = re.compile(r"\bhf_\w+")


def pull(uri: str) -> Location:
    """The folder of an encoder on the hub, in huggingface_hub's cache; downloaded if it is not there yet.

    Args:
        uri: hf://OWNER/NAME or hf://OWNER/NAME@REVISION.

    Raises:
        ConfigError: The address is none, or huggingface_hub is not installed.
        StorageError: The hub does not answer, or has no such repository for this user.
        CheckpointError: The repository holds no encoder of vgim.
    """
    from vgim.pretrained.exported import CONFIG, WEIGHTS, is_export

    repo, _, revision = uri.removeprefix(HUB).partition("@")
    check_repo(repo, uri)
    hub = hub_library(uri)
    with hub_errors("download", uri):
        folder = Location(
            hub.snapshot_download(repo, revision=revision or None, allow_patterns=[CONFIG, WEIGHTS])
        )
    if not is_export(folder):
        raise CheckpointError(
            f"{uri} holds no encoder that `vgim export --to hub` wrote; name another repository"
        )
    return folder


def check_repo(repo: str, given: str) -> None:
    """Refuse what is no name of a repository.

    Args:
        repo: OWNER/NAME.
        given: What the user wrote, for the error.

    Raises:
        ConfigError: The name is no OWNER/NAME.
    """
    if not _REPO.fullmatch(repo):
        raise ConfigError(f"{shorten(given)} names no repository; give OWNER/NAME, in Python hf://OWNER/NAME")


def hub_library(what: str) -> Any:
    """The package huggingface_hub.

    Args:
        what: What needs it, for the error.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise ConfigError(f"{what} {MISSING}") from error
    return huggingface_hub


@contextmanager
def hub_errors(action: str, uri: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into one line, without a token.

    Args:
        action: What is done: `download`.
        uri: hf://OWNER/NAME.

    Raises:
        StorageError: The hub refused, does not answer, or has no such repository.
    """
    try:
        yield
    except Exception as error:
        library = type(error).__module__.partition(".")[0]
        if library not in HUB_CLIENTS and not isinstance(error, OSError):
            raise
        reason = _TOKEN.sub("hf_***", first_line(error))
        raise StorageError(f"cannot {action} {uri}: {reason}; {_fix(error)}") from None


def _fix(error: Exception) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in (401, 403, 404):
        return "check the name, and that HF_TOKEN or `hf auth login` gives a token that may use it"
    return "check HF_ENDPOINT and the connection, and try again"
