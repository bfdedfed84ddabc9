"""What a module exchanges with the other data-parallel ranks: BatchNorm statistics, and frames as negatives.

Shapes: B crops, C channels, T frames, R rows (frames of all crops of a rank), W ranks.

Both exchanges sum the ranks' gradients on the way back. DistributedDataParallel then divides by W, and the
sum of the ranks' losses becomes their mean: the gradient is that of the mean loss over the union of the
batches.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from vgim.model.precision import at_least_fp32


def world_size() -> int:
    """Ranks in the default process group; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows_RC: Tensor) -> Tensor:
        parts = [torch.empty_like(rows_RC) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows_RC.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def gather_rows(rows_RC: Tensor) -> Tensor:
    """All ranks' rows in the order of the ranks, [W·R, C], differentiable; every rank brings the same R."""
    gathered: Tensor = _GatherRows.apply(rows_RC)
    return gathered


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def _sum_over_ranks(values: Tensor) -> Tensor:
    summed: Tensor = _SumOverRanks.apply(values)
    return summed


class RankBatchNorm(nn.BatchNorm1d):
    """BatchNorm over the batches of all ranks, on any device; statistics in fp32 or finer.

    torch's own SyncBatchNorm runs on GPUs only, and DistributedDataParallel refuses it elsewhere.
    """

    def forward(self, x_RC: Tensor) -> Tensor:
        """Over rows: [R, C] → [R, C]."""
        if not self.training or world_size() == 1:
            return super().forward(x_RC)
        rows_RC = at_least_fp32(x_RC)
        sum_C, count = rows_RC.sum(0), rows_RC.new_tensor([len(rows_RC)])
        totals = _sum_over_ranks(torch.cat([sum_C, count]))
        count, mean_C = totals[-1].detach(), totals[:-1] / totals[-1].detach()
        # Centered before it is squared: E[x²] - E[x]² loses its digits in fp32.
        centered_RC = rows_RC - mean_C
        var_C = _sum_over_ranks(centered_RC.square().sum(0)) / count
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
