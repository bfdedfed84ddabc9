"""Scripts that run Triton's kernels on the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def run_interpreted(script: str) -> None:
    """Run a script of this folder, which must succeed, with Triton's interpreter; skip the test without Triton."""
    pytest.importorskip("triton")
    # A process of its own: kernels are interpreted only if the variable was there when they were defined.
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(script))],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
