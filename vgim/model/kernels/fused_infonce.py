"""InfoNCE in one pass over predictions and rows, forward and back, for GPUs.

The formulas are in `losses.info_nce`. Rows are not copied, and scores never leave the chip: the forward pass keeps
the gradient of each score for the backward pass. Sums have a fixed order, so that the same step gives the same bits.

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

MIN_SIDE = 16
"""Smallest side of a matrix product on the tensor cores."""
CHUNK = 64
"""Channels that a program reads at a time; with one warp, the fastest of what was tried on an H100."""
WARPS = 1
"""Warps of a program."""


def info_nce(
    predictions_GKC: Tensor,
    z_BTC: Tensor,
    pool_RC: Tensor,
    negatives_BWN: Tensor,
    start: Tensor,
    tie_eps: float,
) -> tuple[Tensor, Tensor]:
    """InfoNCE of the predictions, and the share of positives that rank first.

    Args:
        predictions_GKC: Predictions from the window's contexts, contiguous.
        z_BTC: Targets of all frames, contiguous, of the predictions' dtype.
        pool_RC: Rows that negatives are taken from, contiguous, of the predictions' dtype.
        negatives_BWN: Rows of the pool for each context, the same for all steps.
        start: The window's first frame, [] int64.
        tie_eps: A negative's score ties with the positive's score s if they differ by at most tie_eps · (1 + |s|).

    Returns:
        Loss in nats and accuracy in [0, 1], both [] fp32.
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
        slopes = predictions_GKC.new_empty(G, KP, NP, dtype=torch.float32)
        metrics_2G = predictions_GKC.new_empty(2, G, dtype=torch.float32)
        _score[(G,)](
            predictions_GKC,
            z_BTC,
            pool_RC,
            negatives_BWN,
            start,
            slopes,
            metrics_2G,
            tie_eps,
            *sizes,
            **options,
        )
        ctx.save_for_backward(predictions_GKC, z_BTC, pool_RC, negatives_BWN, start, slopes)
        ctx.sizes, ctx.options = sizes, options
        loss, accuracy = metrics_2G.sum(1).unbind()
        ctx.mark_non_differentiable(accuracy)
        return loss, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        predictions_GKC, z_BTC, pool_RC, negatives_BWN, start, slopes = ctx.saved_tensors
        G, T, W, K, N, C, padded_k, padded_n, _ = ctx.sizes
        grad_predictions = torch.empty_like(predictions_GKC)
        grad_rows = predictions_GKC.new_empty(G * N, C)
        _score_back[(G,)](
            predictions_GKC,
            z_BTC,
            pool_RC,
            negatives_BWN,
            start,
            slopes,
            grads[0],
            grad_predictions,
            grad_rows,
            *ctx.sizes,
            **ctx.options,
        )
        # Each row of the pool adds up its gradients in the order of the contexts.
        num_rows = len(pool_RC)
        ordered, order = negatives_BWN.view(-1).int().sort(stable=True)
        bounds = torch.searchsorted(
            ordered, torch.arange(num_rows + 1, device=order.device, dtype=torch.int32)
        )
        inputs = (grad_rows, order, bounds, predictions_GKC, start, slopes, grads[0])
        sizes = (T, W, K, C, padded_k, padded_n, triton.next_power_of_2(C))
        grad_pool, grad_z = torch.empty_like(pool_RC), None
        pool_is_z = pool_RC.data_ptr() == z_BTC.data_ptr()
        _rows_back[(num_rows,)](*inputs, grad_pool, *sizes, AS_NEGATIVES=True, AS_POSITIVES=pool_is_z)
        if not pool_is_z:
            grad_z = torch.empty_like(z_BTC)
            _rows_back[(len(z_BTC) * T,)](*inputs, grad_z, *sizes, AS_NEGATIVES=False, AS_POSITIVES=True)
        return grad_predictions, grad_z, grad_pool, None, None, None


@triton.jit  # type: ignore[untyped-decorator]
def _context(  # type: ignore[no-untyped-def]
    negatives, start, T, W, K: tl.constexpr, N: tl.constexpr, KP: tl.constexpr, NP: tl.constexpr
):
    """A program's context g, its steps k and negatives n; which steps have a positive, and the rows of both."""
    g = tl.program_id(0).to(tl.int64)
    b, w = g // W, g % W
    k, n = tl.arange(0, KP), tl.arange(0, NP)
    valid = (k < K) & (w + 1 + k < W)
    positive_row = b * T + tl.load(start) + w + 1 + k
    negative_row = tl.load(negatives + g * N + n, mask=n < N, other=0)
    return g, k, n, valid, positive_row, negative_row


@triton.jit  # type: ignore[untyped-decorator]
def _score(  # type: ignore[no-untyped-def]
    predictions,
    z,
    pool,
    negatives,
    start,
    slopes,
    metrics,
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
    g, k, n, valid, positive_row, negative_row = _context(negatives, start, T, W, K, N, KP, NP)
    negative = tl.zeros((KP, NP), dtype=tl.float32)
    positive = tl.zeros((KP,), dtype=tl.float32)
    for first in range(0, C, CHUNK):
        col = first + tl.arange(0, CHUNK)
        in_row = col[None, :] < C
        p = tl.load(
            predictions + (g * K + k[:, None]) * C + col[None, :], mask=(k[:, None] < K) & in_row, other=0.0
        )
        x = tl.load(
            pool + negative_row[:, None] * C + col[None, :], mask=(n[:, None] < N) & in_row, other=0.0
        )
        negative = tl.dot(p, tl.trans(x), negative, input_precision=PRECISION)
        y = tl.load(z + positive_row[:, None] * C + col[None, :], mask=valid[:, None] & in_row, other=0.0)
        positive += tl.sum(p.to(tl.float32) * y.to(tl.float32), 1)
    margin = tl.where(n[None, :] < N, negative - positive[:, None], -float("inf"))
    hardest = tl.max(margin, 1)
    total = hardest + tl.log(tl.sum(tl.exp(margin - hardest[:, None]), 1))
    nce = tl.maximum(total, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(total)))
    # Mean over crops and valid frames for each k, then over k.
    share = tl.where(valid, 1.0 / (tl.maximum(W - 1 - k, 1) * (G // W) * K).to(tl.float32), 0.0)
    slope = (share / (1.0 + tl.exp(-total)))[:, None] * tl.exp(margin - total[:, None])
    tl.store(slopes + (g * KP + k[:, None]) * NP + n[None, :], slope)
    tl.store(metrics + g, tl.sum(share * nce))
    ranked_first = hardest < -tie_eps * (1.0 + tl.abs(positive))
    tl.store(metrics + G + g, tl.sum(tl.where(ranked_first, share, 0.0)))


@triton.jit  # type: ignore[untyped-decorator]
def _score_back(  # type: ignore[no-untyped-def]
    predictions,
    z,
    pool,
    negatives,
    start,
    slopes,
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
    g, k, n, valid, positive_row, negative_row = _context(negatives, start, T, W, K, N, KP, NP)
    slope = tl.load(slopes + (g * KP + k[:, None]) * NP + n[None, :]) * tl.load(grad_loss)
    positive_slope = -tl.sum(slope, 1)
    for first in range(0, C, CHUNK):
        col = first + tl.arange(0, CHUNK)
        in_row = col[None, :] < C
        at_k, at_n = (k[:, None] < K) & in_row, (n[:, None] < N) & in_row
        p = tl.load(predictions + (g * K + k[:, None]) * C + col[None, :], mask=at_k, other=0.0)
        x = tl.load(pool + negative_row[:, None] * C + col[None, :], mask=at_n, other=0.0)
        y = tl.load(z + positive_row[:, None] * C + col[None, :], mask=valid[:, None] & in_row, other=0.0)
        s = slope.to(p.dtype)
        grad_p = tl.dot(s, x, input_precision=PRECISION) + positive_slope[:, None] * y.to(tl.float32)
        tl.store(grad_predictions + (g * K + k[:, None]) * C + col[None, :], grad_p, mask=at_k)
        grad_x = tl.dot(tl.trans(s), p, input_precision=PRECISION)
        tl.store(grad_rows + (g * N + n[:, None]) * C + col[None, :], grad_x, mask=at_n)


@triton.jit  # type: ignore[untyped-decorator]
def _rows_back(  # type: ignore[no-untyped-def]
    grad_rows,
    order,
    bounds,
    predictions,
    start,
    slopes,
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
    """The gradient of one row, from the contexts in which it is a negative, or the positive, or both."""
    row = tl.program_id(0).to(tl.int64)
    col, n = tl.arange(0, WIDTH), tl.arange(0, NP)
    total = tl.zeros((WIDTH,), dtype=tl.float32)
    if AS_NEGATIVES:
        for i in range(tl.load(bounds + row), tl.load(bounds + row + 1)):
            entry = tl.load(order + i)
            total += tl.load(grad_rows + entry * C + col, mask=col < C, other=0.0).to(tl.float32)
    if AS_POSITIVES:
        w = row % T - tl.load(start)
        if (w > 0) & (w < W):
            scale = tl.load(grad_loss)
            for k in range(K):
                if w > k:
                    context = row // T * W + w - 1 - k
                    slope = tl.sum(tl.load(slopes + (context * KP + k) * NP + n))
                    p = tl.load(predictions + (context * K + k) * C + col, mask=col < C, other=0.0)
                    total -= scale * slope * p.to(tl.float32)
    tl.store(grad + row * C + col, total, mask=col < C)
