"""Fused kernels for GPUs with Triton: the same numbers as torch's operations, in fewer passes over memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vgim.model.draws import Draws
from vgim.model.kernels import triton_needs
from vgim.model.sync import RankBatchNorm


def applies(x: Tensor) -> bool:
    """Whether the kernels can compute on `x`: on a GPU that Triton can use, fp32 or bf16, outside of torch.compile."""
    if not x.is_cuda or torch.compiler.is_compiling():
        return False
    return x.dtype in (torch.float32, torch.bfloat16) and triton_needs.missing(x.device) is None


def left_out(device: torch.device) -> str | None:
    """A sentence for the log if `device` is a GPU on which the kernels cannot run; else None."""
    reason = triton_needs.missing(device) if device.type == "cuda" else None
    if reason is None:
        return None
    return f"without the fused kernels, torch's operations compute the same numbers, more slowly: {reason}"


def sample_and_kl(
    head_BTX: Tensor, draws: Draws, logvar_max: float = math.inf
) -> tuple[Tensor, Tensor, Tensor]:
    """Targets z [B, T, C], contexts c [B, W, C] and mean KL per element [] in nats, from `GaussianHead.project`."""
    from vgim.model.kernels import fused_gaussian

    assert draws.eps_z is not None
    assert draws.eps_c is not None
    start = draws.start_on_device()
    return fused_gaussian.sample_and_kl(head_BTX, draws.eps_z, draws.eps_c, start, logvar_max)


def info_nce(
    predictions: Tensor, z_BTC: Tensor, pool_RC: Tensor, draws: Draws, tie_eps: int
) -> tuple[Tensor, Tensor]:
    """Loss [] in nats and accuracy [] of predictions [B, W, K, C]; see `losses.info_nce`."""
    from vgim.model.kernels import fused_infonce

    eps = tie_eps * torch.finfo(torch.float32).eps
    negatives_BWN, start = draws.negatives[0], draws.start_on_device()
    return fused_infonce.info_nce(predictions.flatten(0, 1), z_BTC, pool_RC, negatives_BWN, start, eps)


def normalizes(norm: nn.BatchNorm1d, x_RC: Tensor) -> bool:
    """Whether `batch_norm_relu` computes what `norm` and ReLU compute: by statistics of these rows, two or more."""
    alone = not isinstance(norm, RankBatchNorm) or norm.group.size == 1
    return norm.training and alone and norm.momentum is not None and len(x_RC) > 1 and applies(x_RC)


def batch_norm_relu(norm: nn.BatchNorm1d, x_RC: Tensor) -> Tensor:
    """ReLU of `norm` of rows [R, C], in their dtype, and an update of the running statistics as `norm` makes it."""
    from vgim.model.kernels import fused_norm

    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.num_batches_tracked is not None
    assert norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    return fused_norm.batch_norm_relu(
        x_RC, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
    )
