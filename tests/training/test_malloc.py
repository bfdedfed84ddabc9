"""Memory that a step frees is reused by the next step, without new page faults."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEASURE = """
import resource, sys, torch
from vgim.training.malloc import keep_freed_memory
if sys.argv[1] == "kept" and not keep_freed_memory():
    print("unsupported"); sys.exit()
def faults():
    blocks = [torch.empty(16 * 2**20).fill_(1) for _ in range(2)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):  # until the heap has grown to its final size
    before = faults()
print(faults() - before)
"""


def new_pages(how: str) -> str:
    run = [sys.executable, "-c", MEASURE, how]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()


def test_large_blocks_cause_no_page_faults_once_they_were_used() -> None:
    kept = new_pages("kept")
    if kept == "unsupported":
        pytest.skip("the C library is not glibc")
    assert int(kept) < int(new_pages("default")) / 10
