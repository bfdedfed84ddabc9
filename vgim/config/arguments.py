"""Arguments of the Python interface: paths of every kind as text, and one line for what is no path."""

from __future__ import annotations

import os

from vgim.errors import ConfigError
from vgim.text import shorten


def path_text(value: object, name: str) -> str:
    """A path, URI or name as text.

    Args:
        value: A string, bytes, or anything with a file system path, such as a `Path` or a run's summary.
        name: The argument, for errors.

    Raises:
        ConfigError: It is none of these, or empty.
    """
    if not isinstance(value, str | bytes | os.PathLike):
        raise ConfigError(
            f"{name}={shorten(repr(value))} is of the type {type(value).__name__}; give a path, a URI or a name"
        )
    text = os.fsdecode(value)
    if not text:
        raise ConfigError(f"{name} is empty; give a path, a URI or a name")
    return text
