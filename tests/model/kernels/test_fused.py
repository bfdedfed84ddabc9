"""The fused kernels compute what torch's operations compute, value and gradients."""

from __future__ import annotations

from tests.model.kernels.interpreted import run_interpreted


def test_fused_kernels_equal_torchs_operations() -> None:
    run_interpreted("cases.py")
