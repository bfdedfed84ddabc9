"""Conv1d as a few dense matrix products over rows of frames, for CPUs.

The backward pass of torch's Conv1d is slow on a CPU. In this encoder the stride is a good part of the kernel (kernel =
2 · stride). Cutting the input into blocks of one stride turns the convolution into ceil(kernel / stride) products,
computes nothing twice, and keeps frames as rows, as InfoNCE needs them. The rest of the time goes into moving memory,
so that values are written where they are needed: ReLU writes its output between the zeros of the next padding.

Shapes: B crops, T frames out, C channels in, D channels out, K kernel, S stride, J blocks under a kernel,
X = S·C values in a block, M = T + J - 1 blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vgim.model.kernels.filtering import TapGradient, Taps, filter_rows, pays

FEW_VALUES = 64
"""Kernels over at most this many values are gathered into one row: memory alone decides the time of thin products."""
MANY_FRAMES = 512
"""Crops of at least this many frames are multiplied one by one; shorter ones together, wasting J - 1 rows between."""


class _SumOfShiftedProducts(torch.autograd.Function):
    """y[b, t] = Σ_j blocks[b, t + j] @ weight[j].

    Its backward is by hand, because autograd would give each shifted slice a gradient as large as all blocks.
    """

    @staticmethod
    def forward(ctx: Any, blocks_BMX: Tensor, weight_JXD: Tensor) -> Tensor:
        ctx.save_for_backward(blocks_BMX, weight_JXD)
        B, M, X = blocks_BMX.shape
        J, _, D = weight_JXD.shape
        T = M - J + 1
        if J == 1:
            return (blocks_BMX.view(B * M, X) @ weight_JXD[0]).view(B, T, D)
        correlate = _correlation(weight_JXD.unbind(), B * T)
        if T >= MANY_FRAMES:
            y_BTD = blocks_BMX.new_empty(B, T, D)
            for y_TD, blocks_MX in zip(y_BTD, blocks_BMX, strict=True):
                correlate(blocks_MX, y_TD)
            return y_BTD
        y_RD = blocks_BMX.new_empty(B * M, D)
        correlate(blocks_BMX.view(B * M, X), y_RD[: B * M - J + 1])
        return y_RD.view(B, M, D)[:, :T].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor]:
        blocks_BMX, weight_JXD = ctx.saved_tensors
        B, M, X = blocks_BMX.shape
        J, _, D = weight_JXD.shape
        T = M - J + 1
        rows_RX = blocks_BMX.view(B * M, X)
        grad_RD = _between_zeros(grads[0], J - 1)
        runs = [(b * M, T) for b in range(B)] if T >= MANY_FRAMES else [(0, B * M - J + 1)]
        grad_weight = (TapGradient if pays(J, B * T, D) else _PlainTapGradient)(weight_JXD)
        for first, num_out in runs:
            grad_weight.add(
                rows_RX[first : first + num_out + J - 1], grad_RD[first + J - 1 : first + J - 1 + num_out]
            )
        grad_blocks = None
        if ctx.needs_input_grad[0]:
            # A correlation again: of the gradient with the taps in reverse.
            grad_blocks = torch.empty_like(blocks_BMX)
            correlate = _correlation([tap_XD.T for tap_XD in reversed(weight_JXD)], B * T)
            for first, num_out in runs:
                behind = first + num_out + J - 1
                correlate(grad_RD[first : behind + J - 1], grad_blocks.view(B * M, X)[first:behind])
        return grad_blocks, grad_weight.total()


def _between_zeros(grad_BTD: Tensor, num_zeros: int) -> Tensor:
    """Crops as rows, with rows of zeros before, between and behind them, which shifted products run over."""
    B, T, D = grad_BTD.shape
    if num_zeros == 0:
        return grad_BTD.reshape(B * T, D)
    M = num_zeros + T
    grad_RD = grad_BTD.new_zeros(B * M + num_zeros, D)
    grad_RD[: B * M].view(B, M, D)[:, num_zeros:] = grad_BTD
    return grad_RD


def _correlation(taps: Sequence[Tensor], num_rows: int) -> Callable[[Tensor, Tensor], None]:
    """A function that writes Σ_j rows[t + j] @ taps[j] to its second argument; `num_rows` is for all of its calls."""
    if pays(len(taps), num_rows, min(taps[0].shape)):
        return partial(filter_rows, Taps.of(*taps))
    return partial(_sum_products, taps)


def _sum_products(taps: Sequence[Tensor], rows_RX: Tensor, out_TD: Tensor) -> None:
    for j, tap_XD in enumerate(taps):
        out_TD.addmm_(rows_RX[j : j + len(out_TD)], tap_XD, beta=0 if j == 0 else 1)


class _PlainTapGradient:
    """Σ_t rows[t + j].T @ grad[t] for every tap j, added up over runs of rows."""

    def __init__(self, weight_JXD: Tensor) -> None:
        self._total_JXD = weight_JXD.new_zeros(weight_JXD.shape)

    def add(self, rows_RX: Tensor, grad_TD: Tensor) -> None:
        for j, total_XD in enumerate(self._total_JXD):
            total_XD.addmm_(rows_RX[j : j + len(grad_TD)].T, grad_TD)

    def total(self) -> Tensor:
        return self._total_JXD


class _PaddedRelu(torch.autograd.Function):
    """ReLU of [B, T, C] into a tensor with zeros before and behind the frames; backward needs the output alone."""

    @staticmethod
    def forward(ctx: Any, y_BTC: Tensor, before: int, num_frames: int) -> Tensor:
        B, T, C = y_BTC.shape
        T = min(T, num_frames - before)  # the next convolution reaches no later frames
        out = y_BTC.new_empty(B, num_frames, C)
        out[:, :before].zero_()
        out[:, before + T :].zero_()
        torch.clamp_min(y_BTC[:, :T], 0, out=out[:, before : before + T])
        ctx.save_for_backward(out)
        ctx.position = before, T, y_BTC.shape[1]
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (out,) = ctx.saved_tensors
        before, T, num_in = ctx.position
        inside = slice(before, before + T)
        B, _, C = out.shape
        grad = out.new_empty(B, num_in, C)
        grad[:, T:].zero_()
        torch.ops.aten.threshold_backward.grad_input(
            grads[0][:, inside], out[:, inside], 0, grad_input=grad[:, :T]
        )
        return grad, None, None


def pad_frames(x_BTC: Tensor, before: int, num_frames: int) -> Tensor:
    """Pad `x` with zeros before and behind, or cut it behind, to `num_frames` frames: [B, num_frames, C]."""
    return F.pad(x_BTC, (0, 0, before, num_frames - before - x_BTC.shape[1]))


def padded_relu(y_BTC: Tensor, before: int, num_frames: int) -> Tensor:
    """`pad_frames(relu(y), before, num_frames)` in one pass over memory."""
    if torch.compiler.is_compiling():  # it fuses the two by itself, and cannot write into a slice
        return pad_frames(F.relu(y_BTC), before, num_frames)
    padded: Tensor = _PaddedRelu.apply(y_BTC, before, num_frames)
    return padded


def conv_of_padded(x_BTC: Tensor, weight_DCK: Tensor, bias_D: Tensor | None, stride: int) -> Tensor:
    """`F.conv1d` of frames as rows, on input that is padded already: → [B, T, D].

    Args:
        x_BTC: `ConvSpec.num_padded` frames, padding included.
        weight_DCK: Kernel.
        bias_D: Bias.
        stride: Stride.
    """
    B, num_in, C = x_BTC.shape
    D, _, kernel = weight_DCK.shape
    J = -(-kernel // stride)
    if kernel * C <= FEW_VALUES:
        num_frames = num_in // stride - J + 1
        gathered_BTKC = x_BTC.unfold(1, kernel, stride)[:, :num_frames].transpose(2, 3)
        blocks = gathered_BTKC.reshape(B, num_frames, kernel * C).contiguous()
        weight_JXD = weight_DCK.permute(2, 1, 0).reshape(1, kernel * C, D)
    else:
        blocks = x_BTC.reshape(B, num_in // stride, stride * C)
        weight_JXD = F.pad(weight_DCK, (0, J * stride - kernel)).permute(2, 1, 0).reshape(J, stride * C, D)
    y_BTD: Tensor = _SumOfShiftedProducts.apply(blocks, weight_JXD)
    return y_BTD if bias_D is None else y_BTD + bias_D
