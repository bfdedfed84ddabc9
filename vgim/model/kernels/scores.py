"""Predictions and their scores in one autograd function, for CPUs, if the same negatives serve all steps k.

Rows are ordered by frame, then by crop, so that contexts with a frame k steps later come first, and nothing past the
window's end is computed. The backward pass adds each step's gradient in place; autograd would make a tensor for every
step, fill the rest with zeros and add them.

Shapes: B crops, T frames, W window frames, K prediction steps, N negatives, R rows of the pool; C channels of
contexts, Z of targets; G = W·B contexts, frame by frame.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vgim.model.draws import Draws


def applies(x: Tensor) -> bool:
    """Whether `scores` can compute on contexts `x`: on a CPU, without autocast and torch.compile."""
    return (
        x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
    )


def scores(
    c_BWC: Tensor, weight_KZC: Tensor, z_BTZ: Tensor, pool_RZ: Tensor, draws: Draws
) -> tuple[Tensor, Tensor]:
    """Scores of each prediction with its positive, [B, W, K], and its negatives, [B, W, K, N]; 0 past the window's end.

    Args:
        c_BWC: Contexts of the window.
        weight_KZC: Maps from contexts to predictions, of at most W - 1 steps.
        z_BTZ: Targets of all frames.
        pool_RZ: Rows that negatives are taken from.
        draws: The window, and negatives that serve all steps.
    """
    B, W, _ = c_BWC.shape
    positive_GK, negative_GKN = _Scores.apply(
        c_BWC, weight_KZC, z_BTZ, pool_RZ, draws.negatives[0], int(draws.window_start)
    )
    positive_BWK = positive_GK.unflatten(0, (W, B)).transpose(0, 1)
    return positive_BWK, negative_GKN.unflatten(0, (W, B)).transpose(0, 1)


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        c_BWC: Tensor,
        weight_KZC: Tensor,
        z_BTZ: Tensor,
        pool_RZ: Tensor,
        negatives_BWN: Tensor,
        start: int,
    ) -> tuple[Tensor, Tensor]:
        B, W, _ = c_BWC.shape
        K, Z, _ = weight_KZC.shape
        c_GC = c_BWC.transpose(0, 1).flatten(0, 1)
        z_GZ = z_BTZ[:, start : start + W].transpose(0, 1).flatten(0, 1)
        negatives_GN = negatives_BWN.transpose(0, 1).flatten(0, 1)
        predictions_GKZ = c_BWC.new_empty(W * B, K, Z)
        positive_GK = c_BWC.new_zeros(W * B, K)
        for k in range(K):
            num = (W - 1 - k) * B
            own_Z, later_Z = predictions_GKZ[:num, k], z_GZ[(k + 1) * B :]
            torch.mm(c_GC[:num], weight_KZC[k].T, out=own_Z)
            positive_GK[:num, k] = (own_Z * later_Z).sum(1)
            predictions_GKZ[num:, k].zero_()
        rows_GNZ = pool_RZ[negatives_GN]
        ctx.save_for_backward(c_GC, weight_KZC, z_GZ, predictions_GKZ, rows_GNZ, negatives_GN)
        ctx.sizes = B, z_BTZ.shape[1], start, len(pool_RZ), pool_RZ.data_ptr() == z_BTZ.data_ptr()
        return positive_GK, torch.bmm(predictions_GKZ, rows_GNZ.mT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        c_GC, weight_KZC, z_GZ, predictions_GKZ, rows_GNZ, negatives_GN = ctx.saved_tensors
        B, T, start, num_rows, pool_is_z = ctx.sizes
        W, Z = len(c_GC) // B, z_GZ.shape[1]
        grad_positive_GK, grad_negative_GKN = grads[0], grads[1].contiguous()
        grad_predictions_GKZ = torch.bmm(grad_negative_GKN, rows_GNZ)
        grad_rows_GNZ = torch.bmm(grad_negative_GKN.mT, predictions_GKZ)
        grad_z_GZ, grad_c_GC, grad_weight_KZC = (torch.zeros_like(x) for x in (z_GZ, c_GC, weight_KZC))
        for k in range(len(weight_KZC)):
            num = (W - 1 - k) * B
            slope, own_Z = grad_positive_GK[:num, k, None], grad_predictions_GKZ[:num, k]
            own_Z.addcmul_(slope, z_GZ[(k + 1) * B :])
            grad_z_GZ[(k + 1) * B :].addcmul_(slope, predictions_GKZ[:num, k])
            torch.mm(own_Z.T, c_GC[:num], out=grad_weight_KZC[k])
            grad_c_GC[:num].addmm_(own_Z, weight_KZC[k])
        grad_pool = torch.ops.aten.embedding_dense_backward(
            grad_rows_GNZ.view(-1, Z), negatives_GN.reshape(-1), num_rows, -1, False
        )
        # If the pool is the batch's own frames, one tensor holds both gradients.
        grad_z = None if pool_is_z else grad_z_GZ.new_zeros(B, T, Z)
        both = grad_pool.view(B, T, Z) if grad_z is None else grad_z
        both[:, start : start + W] += grad_z_GZ.view(W, B, Z).transpose(0, 1)
        grad_c_BWC = grad_c_GC.view(W, B, -1).transpose(0, 1)
        return grad_c_BWC, grad_weight_KZC, grad_z, grad_pool, None, None
