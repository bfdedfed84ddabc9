"""Fused BatchNorm and ReLU compute what torch's operations compute, and compile for GPUs that are not at hand."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.model.kernels.interpreted import run_interpreted
from vgim.model.kernels import fused
from vgim.model.precision import set_precision

LOADS = {
    "moments": 4,
    "merge_moments": 16,
    "normalize": 4,
    "sums_back": 8,
    "merge_sums": 16,
    "normalize_back": 8,
}
"""Loads of 16 bytes by which each thread reads a tile of bf16, or 512 parts."""


def test_fused_normalization_equals_torchs_operations() -> None:
    run_interpreted("norm_cases.py")


def compiled(kernel: Any, rows_dtype: str, capability: int) -> Any:
    """A kernel as it is launched for 512 channels and full parts, compiled without a GPU."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    constants = {"C": 512, "ROWS": 8, "COLS": 128}
    if "PARTS" in kernel.arg_names:
        constants = {"C": 512, "PARTS": 512, "COLS": 8}
    types = {
        **dict.fromkeys(("x", "y", "grad_x", "grad_y"), f"*{rows_dtype}"),
        **dict.fromkeys(("num_rows", "rows_a_part", "num_parts"), "i32"),
        **dict.fromkeys(("momentum", "eps"), "fp32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    signature = {name: types.get(name, "*fp32") for name in kernel.arg_names}
    aligned = [
        i for i, name in enumerate(signature) if signature[name].startswith("*") or name == "rows_a_part"
    ]
    source = ASTSource(kernel, signature, constants, {(i,): [["tt.divisibility", 16]] for i in aligned})
    return triton.compile(source, target=GPUTarget("cuda", capability, 32))


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("name", LOADS)
def test_kernels_load_16_bytes_at_a_time_and_four_programs_fit_the_registers_of_a_multiprocessor(
    name: str, capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    triton = pytest.importorskip("triton")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    from vgim.model.kernels import fused_norm_kernels

    kernel = compiled(getattr(fused_norm_kernels, name), "bf16", capability)
    assert kernel.asm["ptx"].count("ld.global.v4.b32") >= LOADS[name]
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(kernel.asm["cubin"])
    cuobjdump = triton.knobs.nvidia.cuobjdump.path
    usage = subprocess.run([cuobjdump, "-res-usage", cubin], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+) ", usage.stdout + usage.stderr)
    assert found is not None
    registers, stack = map(int, found.groups())
    assert registers <= 128
    assert stack == 0  # nothing was spilled


@pytest.fixture(params=[torch.float32, torch.bfloat16])
def rows(request: pytest.FixtureRequest) -> Tensor:
    generator = torch.Generator("cuda").manual_seed(0)
    x_RC = 2 * torch.randn(20_001, 512, generator=generator, device="cuda") + 1
    dtype: torch.dtype = request.param
    return x_RC.to(dtype)


def norm_on_gpu(C: int) -> nn.BatchNorm1d:
    from tests.model.kernels.norm_cases import drawn_norm

    return drawn_norm(C, torch.Generator().manual_seed(0)).cuda()


@pytest.mark.gpu
def test_on_a_gpu_the_kernels_equal_torchs_operations_in_fp64(rows: Tensor) -> None:
    from tests.model.kernels.norm_cases import ROUNDING, check

    assert fused.applies(rows)
    check(rows, norm_on_gpu(512), *ROUNDING[rows.dtype])
    # Two rows may be almost the same, so that the rounding of their mean is a part of their distance.
    check(rows[:2], norm_on_gpu(512), 1e-2, 1e-3)
    check(rows[:, :499], norm_on_gpu(499), *ROUNDING[rows.dtype])


@pytest.mark.gpu
def test_a_constant_and_a_large_mean_keep_their_digits_on_a_gpu() -> None:
    from tests.model.kernels.norm_cases import check_variance_keeps_its_digits

    check_variance_keeps_its_digits("cuda")


def step(norm: nn.BatchNorm1d, x_RC: Tensor, grad_RC: Tensor) -> tuple[Tensor, ...]:
    """Output and gradients."""
    y_RC = fused.batch_norm_relu(norm, x_RC)
    return y_RC, *torch.autograd.grad(y_RC, [x_RC, *norm.parameters()], grad_RC)


@pytest.mark.gpu
def test_replays_of_a_cuda_graph_equal_eager_steps_bit_for_bit(rows: Tensor) -> None:
    norm = norm_on_gpu(512)
    x_RC, grad_RC = rows.clone().requires_grad_(), rows.flip(0).contiguous()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step(norm, x_RC, grad_RC)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        replayed = step(norm, x_RC, grad_RC)
    twin = copy.deepcopy(norm)
    for shift in (1.0, 2.0):
        with torch.no_grad():
            x_RC.copy_(rows.roll(1, 1) * shift - shift)
        graph.replay()
        for got, expected in zip(replayed, step(twin, x_RC, grad_RC), strict=True):
            assert torch.equal(got, expected)
        for got, expected in zip(norm.buffers(), twin.buffers(), strict=True):
            assert torch.equal(got, expected)
    assert norm.num_batches_tracked == 3


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", [False, True])
def test_a_stack_on_a_gpu_uses_the_kernels(autocast: bool) -> None:
    from tests.model.kernels.norm_cases import check_stack

    set_precision("bf16" if autocast else "fp32")
    check_stack(nn.BatchNorm1d.train, True, device="cuda", autocast=autocast)
