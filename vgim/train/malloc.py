"""Keeping the memory that a step frees for the next step, on CPUs.

glibc hands every large block back to the kernel when it is freed and gets it anew, page by page and zeroed, at the
next step. A step allocates the same blocks again and again, so a tenth of it goes into page faults.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h
_TOP_PAD_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Make this process's malloc take large blocks from its heap, and keep what is freed there.

    Returns:
        Whether the C library is glibc and took the settings; others are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_TOP_PAD, _TOP_PAD_BYTES))
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)
