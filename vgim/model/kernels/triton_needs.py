"""What Triton needs besides its package to run a kernel: a GPU of its kind, a C compiler and Python's headers.

It builds a library for its calls of the driver when a process runs its first kernel, so that a machine without a
compiler, as slim containers are, fails at the first step and not before.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from vgim.text import first_line

MIN_CAPABILITY = (8, 0)
"""Compute capability of the oldest NVIDIA GPUs that Triton supports, as its README says."""


@cache
def missing(device: torch.device) -> str | None:
    """What keeps Triton from running kernels on a GPU and how to get it, in one line; None if it can."""
    if find_spec("triton") is None:
        return "Triton is not installed (pip install triton)"
    return too_old(device) or missing_to_build() or _failure()


def too_old(device: torch.device) -> str | None:
    """The GPU and its compute capability, if Triton needs a newer one."""
    capability = torch.cuda.get_device_capability(device)
    if torch.version.hip or capability >= MIN_CAPABILITY:
        return None
    has, needs = (".".join(map(str, version)) for version in (capability, MIN_CAPABILITY))
    return f"{torch.cuda.get_device_name(device)} has compute capability {has}, and Triton needs {needs} or newer"


def missing_to_build() -> str | None:
    """The compiler or the header that Triton would not find for its library."""
    compiler = os.environ.get("CC")
    if compiler is not None and shutil.which(compiler) is None:
        return f"CC={compiler!r}, by which Triton compiles, is no program (unset CC, or name a C compiler)"
    if compiler is None and not (shutil.which("gcc") or shutil.which("clang")):
        return "Triton finds no C compiler (apt-get install gcc libc6-dev, or name one in CC)"
    headers = Path(sysconfig.get_paths(scheme=_scheme())["include"])
    if not (headers / "Python.h").is_file():
        return (
            f"Triton finds no Python.h in {headers} (apt-get install python3-dev, or the like of this Python)"
        )
    return None


def _scheme() -> str:
    """Where Triton looks for headers: Debian's Python installs into another place than it has its own from."""
    scheme = sysconfig.get_default_scheme()
    return "posix_prefix" if scheme == "posix_local" else scheme


def _failure() -> str | None:
    """What Triton says where it fails to build or load its library, such as a cache that it cannot write."""
    try:
        import triton

        _ = triton.runtime.driver.active.utils
    except Exception as error:
        return f"Triton does not start: {first_line(error)}"
    return None
