"""Exchanges of a module with the other data-parallel ranks: BatchNorm statistics, and frames as negatives.

Shapes: B crops, C channels, T frames, R rows (frames of all crops of a rank), W ranks.

Both exchanges sum the ranks' gradients on the way back. DistributedDataParallel then divides by W, and the
sum of the ranks' losses becomes their mean: the gradient is that of the mean loss over the union of the
batches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vgim.model.precision import at_least_fp32
from vgim.model.rank_group import ALONE, RankGroup


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_RC: Tensor, group: RankGroup) -> Tensor:
        ctx.group = group
        return torch.cat(group.all_gather(rows_RC))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        group: RankGroup = ctx.group
        grad = grads[0].contiguous()
        group.all_reduce_sum(grad)
        return grad.chunk(group.size)[group.rank], None


def gather_rows(rows_RC: Tensor, group: RankGroup) -> Tensor:
    """Rows of all ranks in the order of the ranks, [W·R, C], differentiable; R is the same on every rank."""
    gathered: Tensor = _GatherRows.apply(rows_RC, group)
    return gathered


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, group: RankGroup) -> Tensor:
        ctx.group = group
        total = values.clone()
        group.all_reduce_sum(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].clone()
        ctx.group.all_reduce_sum(total)
        return total, None


def sum_over_ranks(values: Tensor, group: RankGroup) -> Tensor:
    """Sums over the ranks of the group, differentiable."""
    summed: Tensor = _SumOverRanks.apply(values, group)
    return summed


def mean_over_ranks(sum_C: Tensor, num_rows: int, group: RankGroup) -> tuple[Tensor, Tensor]:
    """Mean [C] of all ranks' rows, differentiable, from the sum of this rank's; and the number [] of all rows."""
    totals = sum_over_ranks(torch.cat([sum_C, sum_C.new_tensor([num_rows])]), group)
    count = totals[-1].detach()
    return totals[:-1] / count, count


class RankBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the batches of all ranks, on any device; statistics in fp32 or finer.

    torch's SyncBatchNorm runs on GPUs only, and DistributedDataParallel refuses it elsewhere.
    """

    group: RankGroup = ALONE
    """The ranks whose batches are normalized together."""

    def forward(self, x_RC: Tensor) -> Tensor:
        """Normalize rows [R, C] by the statistics of all ranks' rows."""
        if not self.training or self.group.size == 1:
            return super().forward(x_RC)
        rows_RC = at_least_fp32(x_RC)
        mean_C, count = mean_over_ranks(rows_RC.sum(0), len(rows_RC), self.group)
        # Centered before it is squared: E[x²] - E[x]² loses its digits in fp32.
        centered_RC = rows_RC - mean_C
        var_C = sum_over_ranks(centered_RC.square().sum(0), self.group) / count
        self._update_running(mean_C.detach(), var_C.detach() * count / (count - 1))
        normed_RC = centered_RC * (self.weight * torch.rsqrt(var_C + self.eps)) + self.bias
        return normed_RC.to(x_RC.dtype)

    def _update_running(self, mean_C: Tensor, var_C: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(var_C, self.momentum)
        self.num_batches_tracked.add_(1)
