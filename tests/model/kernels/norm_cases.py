"""BatchNorm and ReLU by the fused kernels beside torch's operations in fp64, on any device.

Usage: TRITON_INTERPRET=1 norm_cases.py; it prints nothing if all numbers agree on the CPU, and fails otherwise.

Shapes: R rows, C channels; B crops, T frames.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.config.model_sections import NormKind
from vgim.model.conv import ConvStack
from vgim.model.kernels import fused, fused_norm
from vgim.model.rank_group import RankGroup
from vgim.model.specs import ConvSpec
from vgim.model.sync import RankBatchNorm

ROUNDING = {torch.float32: (1e-5, 2e-5), torch.bfloat16: (2**-7, 1e-3)}
"""Tolerances of values that are stored in a dtype, relative and absolute."""


def drawn_norm(C: int, generator: torch.Generator) -> nn.BatchNorm1d:
    """BatchNorm in training mode with scales of both signs and shifts."""
    norm = nn.BatchNorm1d(C, momentum=0.3)
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
        norm.bias.normal_(generator=generator)
    return norm


def check(x_RC: Tensor, norm: nn.BatchNorm1d, rtol: float, atol: float) -> Tensor:
    """Compare values, gradients and running statistics; gradients only of what ReLU passed in the kernels."""
    exact = copy.deepcopy(norm).double()
    x_RC = x_RC.detach().requires_grad_()
    exact_RC = x_RC.detach().double().requires_grad_()
    grad = torch.randn(x_RC.shape, generator=torch.Generator().manual_seed(1)).to(x_RC)
    got = fused.batch_norm_relu(norm, x_RC)
    normed_RC = exact(exact_RC)
    assert got.dtype == x_RC.dtype
    torch.testing.assert_close(got.double(), F.relu(normed_RC), rtol=rtol, atol=atol)
    check_statistics(norm, exact)
    inputs, exact_inputs = [x_RC, *norm.parameters()], [exact_RC, *exact.parameters()]
    found = torch.autograd.grad(got, inputs, grad)
    expected_grads = torch.autograd.grad(normed_RC * (got > 0), exact_inputs, grad.double())
    for tensor, each, expected in zip(inputs, found, expected_grads, strict=True):
        assert each.dtype == tensor.dtype
        # Sums of many terms are known to the rounding of the largest.
        scale = max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(each.double(), expected, rtol=rtol, atol=atol * scale)
    return got.detach()


def check_statistics(norm: nn.BatchNorm1d, exact: nn.BatchNorm1d) -> None:
    """Compare running statistics: variances to their rounding, means to theirs or a small part of the deviations."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert exact.running_mean is not None
    assert exact.running_var is not None
    torch.testing.assert_close(norm.running_var.double(), exact.running_var, rtol=3e-6, atol=0)
    error = (norm.running_mean - exact.running_mean).abs()
    assert (error <= 3e-7 * exact.running_mean.abs() + 1e-5 * exact.running_var.sqrt()).all()
    assert norm.num_batches_tracked == exact.num_batches_tracked


def check_shapes(dtype: torch.dtype) -> None:
    """One part and several, one block of channels and two, a part of one row, the fewest rows."""
    for R, C in ((2, 3), (257, 20), (500, 130), (64, 128), (4097, 1)):
        generator = torch.Generator().manual_seed(R)
        x_RC = (2 * torch.randn(R, C, generator=generator) + 1).to(dtype)
        check(x_RC, drawn_norm(C, generator), *ROUNDING[dtype])


def check_variance_keeps_its_digits(device: str = "cpu") -> None:
    """A mean of 20,000 standard deviations, a constant, and a first row far from all others."""
    generator = torch.Generator().manual_seed(0)
    x_RC = torch.randn(700, 3, generator=generator)
    x_RC[:, 0] = 1e4 + 0.5 * x_RC[:, 0]
    x_RC[:, 1] = 1e4 + 0.1
    x_RC[0, 2] = -1e4
    for rows_RC, num_parts, shift in ((x_RC, 1, 2.0), (x_RC.repeat(2, 50), 22, 0.0)):
        assert fused_norm._Parts.of(rows_RC).num_parts == num_parts
        norm = drawn_norm(rows_RC.shape[1], generator).to(device)
        with torch.no_grad():
            norm.bias[1] = shift  # as large as the constant's output; no gradient passes ReLU at zero
        y_RC = check(rows_RC.to(device), norm, rtol=1e-3, atol=4e-3)  # a mean of 1e4 is rounded to 0.001
        assert (y_RC[:, 1] == shift).all()
        assert float(norm.running_var[1]) == pytest.approx(0.7)


def check_nan_is_not_hidden() -> None:
    generator = torch.Generator().manual_seed(0)
    x_RC = torch.randn(300, 3, generator=generator)
    x_RC[200, 1] = torch.nan
    x_RC.requires_grad_()
    norm = nn.BatchNorm1d(3)
    y_RC = fused.batch_norm_relu(norm, x_RC)
    y_RC.sum().backward()
    assert x_RC.grad is not None
    for tensor in (y_RC, x_RC.grad):
        assert tensor[:, 1].isnan().all()
        assert tensor[:, [0, 2]].isfinite().all()
    assert norm.running_mean is not None
    assert norm.running_mean.isnan().tolist() == [False, True, False]


def check_rows_with_gaps() -> None:
    """Rows and gradients that are not contiguous."""
    generator = torch.Generator().manual_seed(0)
    wide = torch.randn(40, 12, generator=generator)
    norm = drawn_norm(5, generator)
    twin = copy.deepcopy(norm)
    results = []
    for each, rows in ((norm, wide[:, ::2][:, :5]), (twin, wide[:, ::2][:, :5].contiguous())):
        rows = rows.detach().requires_grad_()
        y_RC = fused.batch_norm_relu(each, rows)
        grad = torch.ones(()).expand(y_RC.shape)
        results.append((y_RC, *torch.autograd.grad(y_RC, [rows, *each.parameters()], grad)))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def check_stack(
    change: Callable[[nn.BatchNorm1d], object],
    is_fused: bool,
    kind: NormKind = "local",
    device: str = "cpu",
    autocast: bool = False,
) -> None:
    """A stack of convolutions uses the kernels where it should, and computes the same with them and without."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stack = ConvStack([ConvSpec(4, 2, 1)] * 3, 1, 16, kind, [True, False, True]).to(device)
    for module in stack.modules():
        if isinstance(module, nn.BatchNorm1d):
            change(module)
    twin = copy.deepcopy(stack)
    x_BTC = torch.randn(3, 80, 1, generator=torch.Generator().manual_seed(0)).to(device)
    results = []
    for each, applies in ((stack, True), (twin, False)):
        with (
            torch.autocast(device, torch.bfloat16, autocast),
            patch.object(fused, "applies", return_value=applies),
        ):
            y_BTC = each._channels_last(x_BTC)
        uses_kernels = "BatchNormReLU" in str(y_BTC.grad_fn.next_functions)
        assert uses_kernels == (applies and is_fused)
        grads = torch.autograd.grad(y_BTC.float().square().sum(), list(each.parameters()))
        results.append((y_BTC, torch.cat([grad.flatten() for grad in grads]), dict(each.named_buffers())))
    (got, grad, buffers), (expected, expected_grad, expected_buffers) = results
    tolerance = 2e-2 if autocast else 1e-5
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(buffers, expected_buffers, rtol=tolerance, atol=tolerance)
    assert (grad - expected_grad).norm() <= 3 * tolerance * expected_grad.norm()


def no_momentum(norm: nn.BatchNorm1d) -> None:
    norm.momentum = None  # in torch: the plain average over all batches


def check_single_row() -> None:
    stack = ConvStack([ConvSpec(1, 1, 0)], 3, 3, "local")
    with (
        patch.object(fused, "applies", return_value=True),
        pytest.raises(ValueError, match="more than 1 value per channel"),
    ):
        stack._channels_last(torch.zeros(1, 1, 3))


def main() -> None:
    for dtype in ROUNDING:
        check_shapes(dtype)
    check_variance_keeps_its_digits()
    check_nan_is_not_hidden()
    check_rows_with_gaps()
    check_stack(nn.BatchNorm1d.train, True)
    check_stack(nn.BatchNorm1d.train, True, "sync")
    check_stack(nn.BatchNorm1d.eval, False)
    check_stack(no_momentum, False)
    with (
        patch.object(RankBatchNorm, "group", RankGroup(0, 2)),
        patch.object(RankGroup, "all_reduce_sum", lambda group, tensor: tensor.mul_(group.size)),
    ):
        check_stack(nn.BatchNorm1d.train, False, "sync")
    check_single_row()


if __name__ == "__main__":
    main()
