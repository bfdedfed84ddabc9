"""When, with which packages and from which source tree something was computed."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import vgim

PACKAGES = ("torch", "ray", "numpy", "pyarrow")
"""Packages that results depend on, beside vgim itself."""


def utc_now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    # An editable install knows the version that it was installed with, not the one that runs.
    own = {"python": platform.python_version(), "vgim": vgim.__version__}
    return own | {name: version(name) for name in PACKAGES}


@cache  # a probe writes many results, and would start git for each
def git_revision() -> str:
    """Git revision of the source tree that runs, with `-dirty` for uncommitted changes; empty outside of git.

    An installed vgim may lie in an environment inside of another project's tree, whose revision says nothing of it.
    """
    if not _git("ls-files", "--error-unmatch", Path(__file__).name):
        return ""
    return _git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(*words: str) -> str:
    """What git says in the folder of this file; empty if it fails."""
    try:
        result = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
