"""BatchNorm by the batch's statistics and the ReLU behind it, in few passes over memory, for GPUs.

y = max(0, γ·(x − mean) / √(var + eps) + β) for rows x, with mean and variance of each channel over all rows. The
forward pass reads x twice and writes y. The backward pass reads x and y's gradient twice and writes x's gradient. It
finds which values ReLU passed by the forward pass's operations on the same numbers, so that only x is kept.

A sum over rows is made of sums over parts of the rows. Its order depends on the shape alone, so that the same step
gives the same bits.

Shapes: R rows, C channels, P parts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor
from torch.autograd.function import once_differentiable

from vgim.model.kernels import fused_norm_kernels as kernels

SLICE = 1024
"""Values of a slice of a tile: with four warps, 16 bytes of bf16 for each thread."""
MAX_COLS = 128
"""Most channels of a slice: 256 bytes of bf16 side by side."""
MAX_PARTS = 512
"""Most parts of the rows."""
MIN_TILES = 2
"""Fewest tiles of a part, so that the sums of the parts are few beside the rows."""
MERGED_COLS = 8
"""Channels for which a program adds up all parts: 32 bytes side by side."""


def batch_norm_relu(
    x_RC: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    running_mean_C: Tensor,
    running_var_C: Tensor,
    momentum: float,
    eps: float,
) -> Tensor:
    """`F.relu(F.batch_norm(…, training=True))` of rows, [R, C] in their dtype; it updates the running statistics.

    Args:
        x_RC: At least two rows, fp32 or bf16.
        weight_C: γ, fp32.
        bias_C: β, fp32.
        running_mean_C: Running mean, fp32, replaced by (1 − momentum)·itself + momentum·mean.
        running_var_C: Running variance, fp32, likewise; of the batch it gets the unbiased variance.
        momentum: Weight of the batch in the running statistics.
        eps: Added to the variance.
    """
    y_RC: Tensor = _BatchNormReLU.apply(
        x_RC.contiguous(), weight_C, bias_C, running_mean_C, running_var_C, momentum, eps
    )
    return y_RC


class _Parts(NamedTuple):
    """How rows and channels are divided among programs."""

    num_rows: int
    num_channels: int
    rows: int
    """Rows of a slice."""
    cols: int
    """Channels of a slice."""
    rows_a_part: int
    """Rows of a part, a multiple of a tile's; the last part may have fewer."""

    @classmethod
    def of(cls, x_RC: Tensor) -> _Parts:
        R, C = x_RC.shape
        cols = min(MAX_COLS, triton.next_power_of_2(C))
        rows = SLICE // cols
        tile_rows = kernels.SLICES.value * rows
        return cls(R, C, rows, cols, tile_rows * max(MIN_TILES, triton.cdiv(R, tile_rows * MAX_PARTS)))

    @property
    def num_parts(self) -> int:
        """Parts, P."""
        return -(-self.num_rows // self.rows_a_part)

    @property
    def programs(self) -> tuple[int, int]:
        """Programs that compute a part each; blocks of the same rows run side by side."""
        return triton.cdiv(self.num_channels, self.cols), self.num_parts

    @property
    def sizes(self) -> tuple[int, ...]:
        """Last arguments of the kernels that read rows."""
        return self.num_rows, self.rows_a_part, self.num_channels, self.rows, self.cols

    @property
    def mergers(self) -> tuple[int]:
        """Programs that add up all parts of some channels."""
        return (triton.cdiv(self.num_channels, MERGED_COLS),)

    @property
    def merged_sizes(self) -> tuple[int, ...]:
        """Last arguments of the kernels that add up parts."""
        return self.num_parts, self.num_channels, triton.next_power_of_2(self.num_parts), MERGED_COLS


class _BatchNormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_RC: Tensor,
        weight_C: Tensor,
        bias_C: Tensor,
        running_mean_C: Tensor,
        running_var_C: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        parts = _Parts.of(x_RC)
        C = parts.num_channels
        moments_2PC = x_RC.new_empty(2, parts.num_parts, C, dtype=torch.float32)
        mean_C, rstd_C = x_RC.new_empty(2, C, dtype=torch.float32)
        y_RC = torch.empty_like(x_RC)
        kernels.moments[parts.programs](x_RC, moments_2PC, *parts.sizes)
        kernels.merge_moments[parts.mergers](
            x_RC,
            moments_2PC,
            running_mean_C,
            running_var_C,
            mean_C,
            rstd_C,
            momentum,
            eps,
            parts.num_rows,
            parts.rows_a_part,
            *parts.merged_sizes,
        )
        kernels.normalize[parts.programs](x_RC, mean_C, rstd_C, weight_C, bias_C, y_RC, *parts.sizes)
        ctx.save_for_backward(x_RC, mean_C, rstd_C, weight_C, bias_C)
        return y_RC

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_RC, mean_C, rstd_C, weight_C, bias_C = ctx.saved_tensors
        grad_y = grads[0].contiguous()
        parts = _Parts.of(x_RC)
        sums_2PC = x_RC.new_empty(2, parts.num_parts, parts.num_channels, dtype=torch.float32)
        grad_x, grad_weight, grad_bias = (torch.empty_like(value) for value in (x_RC, weight_C, bias_C))
        inputs = (x_RC, grad_y, mean_C, rstd_C, weight_C, bias_C)
        kernels.sums_back[parts.programs](*inputs, sums_2PC, *parts.sizes)
        kernels.merge_sums[parts.mergers](sums_2PC, rstd_C, grad_weight, grad_bias, *parts.merged_sizes)
        kernels.normalize_back[parts.programs](*inputs, grad_weight, grad_bias, grad_x, *parts.sizes)
        return grad_x, grad_weight, grad_bias, None, None, None, None
