"""InfoNCE in one pass over predictions and rows, forward and back, for GPUs.

The loss is that of `losses.info_nce`. No row is copied on the way to its scores, which never leave the chip: what is
kept for the way back is the gradient of each score. Sums have a fixed order, so that the same step gives the same bits.

Shapes: B crops, T frames, W window frames, C channels, K prediction steps, N negatives; G = B·W contexts, R rows of
the pool.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

MIN_SIDE = 16  # of a matrix product on the tensor cores
CHUNK = 64  # channels at a time; with one warp, the fastest of what was tried on an H100
WARPS = 1


def info_nce(
    predictions_GKC: Tensor,
    z_BTC: Tensor,
    pool_RC: Tensor,
    negatives_BWN: Tensor,
    start: Tensor,
    tie_eps: float,
) -> tuple[Tensor, Tensor]:
    """The loss and the share of positives ranked first, see `InfoNCE.forward`; fp32.

    Args:
        predictions_GKC: Of the window's contexts; `z` and `pool` have its dtype, and all are contiguous.
        pool_RC: Rows that negatives are taken from.
        negatives_BWN: Rows of the pool for each context, the same for all steps.
        start: The window's first frame, [] int64.
        tie_eps: A score is a tie with the positive's, s, where it is closer than this times 1 + |s|.
    """
    loss, accuracy = _InfoNCE.apply(predictions_GKC, z_BTC, pool_RC, negatives_BWN, start, tie_eps)
    return loss, accuracy


class _InfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        predictions_GKC: Tensor,
        z_BTC: Tensor,
        pool_RC: Tensor,
        negatives_BWN: Tensor,
        start: Tensor,
        tie_eps: float,
    ) -> tuple[Tensor, Tensor]:
        G, K, C = predictions_GKC.shape
        W, N = negatives_BWN.shape[1:]
        KP, NP = (max(MIN_SIDE, triton.next_power_of_2(side)) for side in (K, N))
        exact = predictions_GKC.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32
        sizes = (G, z_BTC.shape[1], W, K, N, C, KP, NP, max(MIN_SIDE, min(CHUNK, triton.next_power_of_2(C))))
        options = {"PRECISION": "ieee" if exact else "tf32", "num_warps": WARPS}
        of_negatives = predictions_GKC.new_empty(G, KP, NP, dtype=torch.float32)
        figures_2G = predictions_GKC.new_empty(2, G, dtype=torch.float32)
        _score[(G,)](
            predictions_GKC,
            z_BTC,
            pool_RC,
            negatives_BWN,
            start,
            of_negatives,
            figures_2G,
            tie_eps,
            *sizes,
            **options,
        )
        ctx.save_for_backward(predictions_GKC, z_BTC, pool_RC, negatives_BWN, start, of_negatives)
        ctx.sizes, ctx.options = sizes, options
        loss, accuracy = figures_2G.sum(1).unbind()
        ctx.mark_non_differentiable(accuracy)
        return loss, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        predictions_GKC, z_BTC, pool_RC, negatives_BWN, start, of_negatives = ctx.saved_tensors
        G, T, W, K, N, C, padded_k, padded_n, _ = ctx.sizes
        grad_predictions = torch.empty_like(predictions_GKC)
        grad_rows = predictions_GKC.new_empty(G * N, C)
        _score_back[(G,)](
            predictions_GKC,
            z_BTC,
            pool_RC,
            negatives_BWN,
            start,
            of_negatives,
            grads[0],
            grad_predictions,
            grad_rows,
            *ctx.sizes,
            **ctx.options,
        )
        # Each row of the pool gathers what it gets, in the order of the contexts.
        num_rows = len(pool_RC)
        ordered, order = negatives_BWN.view(-1).int().sort(stable=True)
        bounds = torch.searchsorted(
            ordered, torch.arange(num_rows + 1, device=order.device, dtype=torch.int32)
        )
        given = (grad_rows, order, bounds, predictions_GKC, start, of_negatives, grads[0])
        sizes = (T, W, K, C, padded_k, padded_n, triton.next_power_of_2(C))
        grad_pool, grad_z = torch.empty_like(pool_RC), None
        same = pool_RC.data_ptr() == z_BTC.data_ptr()
        _rows_back[(num_rows,)](*given, grad_pool, *sizes, AS_NEGATIVES=True, AS_POSITIVES=same)
        if not same:
            grad_z = torch.empty_like(z_BTC)
            _rows_back[(len(z_BTC) * T,)](*given, grad_z, *sizes, AS_NEGATIVES=False, AS_POSITIVES=True)
        return grad_predictions, grad_z, grad_pool, None, None, None


@triton.jit  # type: ignore[untyped-decorator]
def _score(  # type: ignore[no-untyped-def]
    predictions,
    z,
    pool,
    negatives,
    start,
    of_negatives,
    figures,
    tie_eps,
    G,
    T,
    W,
    K: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    KP: tl.constexpr,
    NP: tl.constexpr,
    CHUNK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    g = tl.program_id(0).to(tl.int64)
    b, w = g // W, g % W
    k, n = tl.arange(0, KP), tl.arange(0, NP)
    valid = (k < K) & (w + 1 + k < W)
    own = b * T + tl.load(start) + w + 1 + k
    row = tl.load(negatives + g * N + n, mask=n < N, other=0)
    negative = tl.zeros((KP, NP), dtype=tl.float32)
    positive = tl.zeros((KP,), dtype=tl.float32)
    for first in range(0, C, CHUNK):
        col = first + tl.arange(0, CHUNK)
        in_row = col[None, :] < C
        p = tl.load(
            predictions + (g * K + k[:, None]) * C + col[None, :], mask=(k[:, None] < K) & in_row, other=0.0
        )
        x = tl.load(pool + row[:, None] * C + col[None, :], mask=(n[:, None] < N) & in_row, other=0.0)
        negative = tl.dot(p, tl.trans(x), negative, input_precision=PRECISION)
        y = tl.load(z + own[:, None] * C + col[None, :], mask=valid[:, None] & in_row, other=0.0)
        positive += tl.sum(p.to(tl.float32) * y.to(tl.float32), 1)
    margin = tl.where(n[None, :] < N, negative - positive[:, None], -float("inf"))
    hardest = tl.max(margin, 1)
    total = hardest + tl.log(tl.sum(tl.exp(margin - hardest[:, None]), 1))
    nce = tl.maximum(total, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(total)))
    # Mean over crops and valid frames for each k, then over k.
    share = tl.where(valid, 1.0 / (tl.maximum(W - 1 - k, 1) * (G // W) * K).to(tl.float32), 0.0)
    slope = (share / (1.0 + tl.exp(-total)))[:, None] * tl.exp(margin - total[:, None])
    tl.store(of_negatives + (g * KP + k[:, None]) * NP + n[None, :], slope)
    tl.store(figures + g, tl.sum(share * nce))
    first_of_all = hardest < -tie_eps * (1.0 + tl.abs(positive))
    tl.store(figures + G + g, tl.sum(tl.where(first_of_all, share, 0.0)))


@triton.jit  # type: ignore[untyped-decorator]
def _score_back(  # type: ignore[no-untyped-def]
    predictions,
    z,
    pool,
    negatives,
    start,
    of_negatives,
    grad_loss,
    grad_predictions,
    grad_rows,
    G,
    T,
    W,
    K: tl.constexpr,
    N: tl.constexpr,
    C: tl.constexpr,
    KP: tl.constexpr,
    NP: tl.constexpr,
    CHUNK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    g = tl.program_id(0).to(tl.int64)
    b, w = g // W, g % W
    k, n = tl.arange(0, KP), tl.arange(0, NP)
    valid = (k < K) & (w + 1 + k < W)
    own = b * T + tl.load(start) + w + 1 + k
    row = tl.load(negatives + g * N + n, mask=n < N, other=0)
    slope = tl.load(of_negatives + (g * KP + k[:, None]) * NP + n[None, :]) * tl.load(grad_loss)
    of_positive = -tl.sum(slope, 1)
    for first in range(0, C, CHUNK):
        col = first + tl.arange(0, CHUNK)
        in_row = col[None, :] < C
        at_k, at_n = (k[:, None] < K) & in_row, (n[:, None] < N) & in_row
        p = tl.load(predictions + (g * K + k[:, None]) * C + col[None, :], mask=at_k, other=0.0)
        x = tl.load(pool + row[:, None] * C + col[None, :], mask=at_n, other=0.0)
        y = tl.load(z + own[:, None] * C + col[None, :], mask=valid[:, None] & in_row, other=0.0)
        s = slope.to(p.dtype)
        of_p = tl.dot(s, x, input_precision=PRECISION) + of_positive[:, None] * y.to(tl.float32)
        tl.store(grad_predictions + (g * K + k[:, None]) * C + col[None, :], of_p, mask=at_k)
        of_x = tl.dot(tl.trans(s), p, input_precision=PRECISION)
        tl.store(grad_rows + (g * N + n[:, None]) * C + col[None, :], of_x, mask=at_n)


@triton.jit  # type: ignore[untyped-decorator]
def _rows_back(  # type: ignore[no-untyped-def]
    grad_rows,
    order,
    bounds,
    predictions,
    start,
    of_negatives,
    grad_loss,
    grad,
    T,
    W,
    K: tl.constexpr,
    C: tl.constexpr,
    KP: tl.constexpr,
    NP: tl.constexpr,
    WIDTH: tl.constexpr,
    AS_NEGATIVES: tl.constexpr,
    AS_POSITIVES: tl.constexpr,
):
    """The gradient of a row from where it is a negative, and of a frame from the contexts it is the positive of."""
    row = tl.program_id(0).to(tl.int64)
    col, n = tl.arange(0, WIDTH), tl.arange(0, NP)
    total = tl.zeros((WIDTH,), dtype=tl.float32)
    if AS_NEGATIVES:
        for i in range(tl.load(bounds + row), tl.load(bounds + row + 1)):
            of_row = tl.load(order + i)
            total += tl.load(grad_rows + of_row * C + col, mask=col < C, other=0.0).to(tl.float32)
    if AS_POSITIVES:
        w = row % T - tl.load(start)
        if (w > 0) & (w < W):
            scale = tl.load(grad_loss)
            for k in range(K):
                if w > k:
                    context = row // T * W + w - 1 - k
                    slope = tl.sum(tl.load(of_negatives + (context * KP + k) * NP + n))
                    p = tl.load(predictions + (context * K + k) * C + col, mask=col < C, other=0.0)
                    total -= scale * slope * p.to(tl.float32)
    tl.store(grad + row * C + col, total, mask=col < C)
