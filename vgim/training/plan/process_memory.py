"""Estimates what the process of a rank on CPUs needs beside the tensors of its steps.

Measured on Linux with glibc: the heap of a process that keeps freed blocks (`vgim.training.malloc`) grows beyond the
blocks that are used at once, because the blocks of a pass come and go in many sizes.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vgim.training.plan.rank_memory import RankMemory, in_mib

HEAP_SHARE = 1.0
"""Freed blocks that the heap holds, by the bytes of the largest pass: 0.8 to 1.3 in whole runs of 64 to 512 channels
and batches of 8 to 64."""
ROW_GROUPS_HELD, ROW_GROUP_BYTES = 4, 8 * 2**20
"""Copies of a row group that Arrow holds while one is read whole, and its bytes: Arrow's pool held 31.6 MiB."""
WINDOWS_HELD = 2
"""Windows of crops that a rank holds which reads them itself: one is cut into batches while the next is read."""


@dataclass(frozen=True)
class ProcessMemory:
    """Bytes of a rank's process on CPUs."""

    libraries: int
    """The process before it trains: Python, torch, Arrow, vgim."""
    tensors: int
    """`RankMemory.total`."""
    heap: int
    """Freed blocks that malloc keeps for the next step."""
    copy: int
    """The copy of weights and moments that a checkpoint is written from."""
    reading: int
    """Crops that were read ahead, and the row group that is read."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.libraries + self.tensors + self.heap + self.copy + self.reading

    def describe(self) -> str:
        """`about 1,234 MiB in all: these 54, 600 of torch and other libraries, 35 of ...`."""
        return (
            f"about {in_mib(self.total)} MiB in all: these {in_mib(self.tensors)}, {in_mib(self.libraries)} of torch "
            f"and other libraries, {in_mib(self.heap)} of freed blocks that are kept for the next step, "
            f"{in_mib(self.copy)} of the copy that a checkpoint is written from, {in_mib(self.reading)} of crops that "
            "are read"
        )


def process_memory(memory: RankMemory, *, libraries: int, window_bytes: int) -> ProcessMemory:
    """The memory of a rank's process on CPUs.

    Args:
        memory: the tensors of its steps.
        libraries: bytes of a process that has loaded what a rank loads, without the encoder.
        window_bytes: bytes of the crops of a window.
    """
    return ProcessMemory(
        libraries=libraries,
        tensors=memory.total,
        heap=round(HEAP_SHARE * memory.passes),
        copy=memory.weights + memory.moments,
        reading=WINDOWS_HELD * window_bytes + ROW_GROUPS_HELD * ROW_GROUP_BYTES,
    )


def resident_bytes() -> int:
    """Bytes of memory that this process has; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
