"""The fused kernels compute what torch's operations compute, value and gradients."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_fused_kernels_equal_torchs_operations() -> None:
    pytest.importorskip("triton")
    # A process of its own: kernels are interpreted only if the variable was there when they were defined.
    script = Path(__file__).with_name("cases.py")
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
