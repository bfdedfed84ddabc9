"""Keeping the memory that a step frees for the next step, on CPUs.

glibc returns every large freed block to the kernel, and requests it again at the next step, page by page and zeroed.
A step allocates the same blocks every time, so a tenth of its time is spent on page faults.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_TOP_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Make this process's malloc allocate large blocks on its heap, and keep freed blocks there.

    Returns:
        Whether the C library is glibc and accepted the options. Nothing is changed in any other C library.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    options = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    accepted = [mallopt(name, value) == 1 for name, value in options]
    return all(accepted)
