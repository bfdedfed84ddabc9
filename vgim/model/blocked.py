"""Conv1d as a few dense matrix products over rows of frames, for CPUs.

torch's Conv1d on a CPU is held up by its backward. Where the stride is a good part of the kernel, as in this
encoder (kernel = 2 · stride), cutting the input into blocks of one stride turns the convolution into
ceil(kernel / stride) products with nothing computed twice, and frames stay rows, as InfoNCE wants them.

Shapes: B crops, T frames out, C channels in, D channels out, K kernel, S stride, J blocks under a kernel,
R rows (blocks of all crops).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _SumOfShiftedProducts(torch.autograd.Function):
    """y[r] = Σ_j rows[r + j] @ weight[j], for every r that has J - 1 rows after it; zeros for the last.

    By hand, because autograd would give each shifted slice a gradient as large as all of the rows.
    """

    @staticmethod
    def forward(ctx: Any, rows_RX: Tensor, weight_JXD: Tensor) -> Tensor:
        ctx.save_for_backward(rows_RX, weight_JXD)
        run = len(rows_RX) - len(weight_JXD) + 1
        y_RD = rows_RX.new_zeros(len(rows_RX), weight_JXD.shape[2])
        for j, weight_XD in enumerate(weight_JXD):
            y_RD[:run].addmm_(rows_RX[j : j + run], weight_XD, beta=0 if j == 0 else 1)
        return y_RD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor]:
        rows_RX, weight_JXD = ctx.saved_tensors
        run = len(rows_RX) - len(weight_JXD) + 1
        grad_y = grads[0][:run]
        grad_weight = torch.stack([rows_RX[j : j + run].T @ grad_y for j in range(len(weight_JXD))])
        if not ctx.needs_input_grad[0]:
            return None, grad_weight
        grad_rows = torch.zeros_like(rows_RX)
        for j, weight_XD in enumerate(weight_JXD):
            grad_rows[j : j + run].addmm_(grad_y, weight_XD.T)
        return grad_rows, grad_weight


def blocked_conv1d(
    x_BTC: Tensor, weight_DCK: Tensor, bias_D: Tensor | None, stride: int, padding: int, num_frames: int
) -> Tensor:
    """What `F.conv1d` gives, for frames as rows: [B, T_in, C] → [B, num_frames, D].

    Args:
        num_frames: Frames that the convolution makes of the input; at least 1.
    """
    B, num_in, C = x_BTC.shape
    D, _, kernel = weight_DCK.shape
    J = -(-kernel // stride)
    num_blocks = num_frames + J - 1
    # What lies past the last frame's kernel is cut off (a negative padding) or made of zeros.
    padded = F.pad(x_BTC, (0, 0, padding, num_blocks * stride - padding - num_in))
    rows_RX = padded.reshape(B * num_blocks, stride * C)
    weight_JXD = F.pad(weight_DCK, (0, J * stride - kernel)).permute(2, 1, 0).reshape(J, stride * C, D)
    # All crops as one run of rows; the J - 1 frames that straddle two crops are dropped.
    y_RD: Tensor = _SumOfShiftedProducts.apply(rows_RX, weight_JXD)
    y_BTD = y_RD.view(B, num_blocks, D)[:, :num_frames]
    return y_BTD if bias_D is None else y_BTD + bias_D
