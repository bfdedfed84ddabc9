"""Packages that an environment may lack, or have in versions that do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from vgim.errors import ConfigError
from vgim.text import first_line, shorten


def require_extra(command: str, extra: str, packages: Sequence[str]) -> None:
    """Check that the packages that a command needs are installed, without importing them.

    Args:
        command: The command, such as `vgim serve`, for the message.
        extra: Extra of vgim that installs the packages.
        packages: Names by which they are imported.

    Raises:
        ConfigError: One of them is missing.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{command} needs {' and '.join(missing)}, not installed here; pip install 'vgim[{extra}]'"
        )


def import_torchaudio(part: str) -> Any:
    """Import `torchaudio.PART`.

    torchaudio compares its CUDA with torch's when it is imported: 2.11.0 refuses torch 2.15, and 2.11.1 any other major
    version of CUDA.

    Raises:
        ConfigError: The two do not fit, or torchaudio is missing.
    """
    try:
        return import_module(f"torchaudio.{part}")
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"torchaudio cannot be used: {shorten(first_line(error).rstrip('.'), 240)}; install both together, from "
            "one index (pip install --upgrade torch torchaudio)"
        ) from error
