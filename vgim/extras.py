"""Packages that extras install."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from vgim.errors import ConfigError


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
