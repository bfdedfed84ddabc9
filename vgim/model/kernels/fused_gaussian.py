"""Sampling the posterior and its KL divergence in one pass over memory, forward and back, for GPUs.

The formulas are in `vgim.model.posterior`. As separate operations they read and write the latents some forty times.

Shapes: B crops, T frames, W window frames, C channels; R = B·T rows.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 4
"""Rows that a program computes."""


class Sampled(NamedTuple):
    """Two samples of the posterior and its KL divergence."""

    z_BTC: Tensor
    """Targets, in the dtype of the projection."""
    c_BWC: Tensor
    """Contexts, in the dtype of the projection."""
    kl_per_element: Tensor
    """Mean over all elements in nats, [] fp32."""


def sample_and_kl(
    head_BTX: Tensor, eps_z_BTC: Tensor, eps_c_BWC: Tensor, start: Tensor, logvar_max: float = math.inf
) -> Sampled:
    """Sample z = μ + σ·ε for all frames and c for the window's, and average KL(N(μ, σ²) ‖ N(0, 1)).

    Args:
        head_BTX: μ, then log σ²: [B, T, 2·C], contiguous.
        eps_z_BTC: Noise of the targets.
        eps_c_BWC: Noise of the contexts.
        start: The window's first frame, [] int64.
        logvar_max: A larger log σ² counts as this much and gets no gradient; infinity for no bound.
    """
    z_BTC, c_BWC, kl_per_element = _SampleAndKL.apply(head_BTX, eps_z_BTC, eps_c_BWC, start, logvar_max)
    return Sampled(z_BTC, c_BWC, kl_per_element)


class _SampleAndKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        head_BTX: Tensor,
        eps_z_BTC: Tensor,
        eps_c_BWC: Tensor,
        start: Tensor,
        logvar_max: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        B, T, C = eps_z_BTC.shape
        z_BTC, c_BWC = (head_BTX.new_empty(eps.shape) for eps in (eps_z_BTC, eps_c_BWC))
        programs = triton.cdiv(B * T, ROWS)
        kl_P = eps_z_BTC.new_empty(programs)
        sizes = (B * T, T, eps_c_BWC.shape[1], logvar_max, C, ROWS, triton.next_power_of_2(C))
        _sample[(programs,)](head_BTX, eps_z_BTC, eps_c_BWC, start, z_BTC, c_BWC, kl_P, *sizes)
        ctx.save_for_backward(head_BTX, eps_z_BTC, eps_c_BWC, start)
        ctx.sizes = sizes
        return z_BTC, c_BWC, kl_P.sum() / (B * T * C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        head_BTX, eps_z_BTC, eps_c_BWC, start = ctx.saved_tensors
        grad_z, grad_c, grad_kl = (grad.contiguous() for grad in grads)
        grad_head = torch.empty_like(head_BTX)
        num_rows = ctx.sizes[0]
        _sample_back[(triton.cdiv(num_rows, ROWS),)](
            head_BTX, eps_z_BTC, eps_c_BWC, start, grad_z, grad_c, grad_kl, grad_head, *ctx.sizes
        )
        return grad_head, None, None, None, None


@triton.jit  # type: ignore[untyped-decorator]
def _offsets(start, num_rows, T, W, C: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows and channels of a program's values in [R, C], their offsets in [B, W, C], and which of both exist."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    col = tl.arange(0, WIDTH)[None, :]
    valid = (row < num_rows) & (col < C)
    window = row % T - tl.load(start)
    inside = valid & (window >= 0) & (window < W)
    return row, col, valid, (row // T * W + window) * C + col, inside


@triton.jit  # type: ignore[untyped-decorator]
def _posterior(head, row, col, valid, logvar_max: tl.constexpr, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """μ, log σ² up to its bound, and whether log σ² is above it, of a program's values, fp32."""
    mu = tl.load(head + row * 2 * C + col, mask=valid, other=0.0).to(tl.float32)
    logvar = tl.load(head + row * 2 * C + C + col, mask=valid, other=0.0).to(tl.float32)
    above = logvar > logvar_max  # false for NaN, which must not be hidden
    return mu, tl.where(above, logvar_max, logvar), above


@triton.jit  # type: ignore[untyped-decorator]
def _sample(  # type: ignore[no-untyped-def]
    head,
    eps_z,
    eps_c,
    start,
    z,
    c,
    kl,
    num_rows,
    T,
    W,
    logvar_max: tl.constexpr,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row, col, valid, in_window, inside = _offsets(start, num_rows, T, W, C, ROWS, WIDTH)
    mu, logvar, _ = _posterior(head, row, col, valid, logvar_max, C)
    std = tl.exp(0.5 * logvar)
    noise = tl.load(eps_z + row * C + col, mask=valid, other=0.0)
    tl.store(z + row * C + col, mu + std * noise, mask=valid)
    noise = tl.load(eps_c + in_window, mask=inside, other=0.0)
    tl.store(c + in_window, mu + std * noise, mask=inside)
    terms = 0.5 * (mu * mu + tl.exp(logvar) - 1.0 - logvar)
    tl.store(kl + tl.program_id(0), tl.sum(tl.where(valid, terms, 0.0)))


@triton.jit  # type: ignore[untyped-decorator]
def _sample_back(  # type: ignore[no-untyped-def]
    head,
    eps_z,
    eps_c,
    start,
    grad_z,
    grad_c,
    grad_kl,
    grad_head,
    num_rows,
    T,
    W,
    logvar_max: tl.constexpr,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row, col, valid, in_window, inside = _offsets(start, num_rows, T, W, C, ROWS, WIDTH)
    mu, logvar, above = _posterior(head, row, col, valid, logvar_max, C)
    grad_z_value = tl.load(grad_z + row * C + col, mask=valid, other=0.0).to(tl.float32)
    grad_c_value = tl.load(grad_c + in_window, mask=inside, other=0.0).to(tl.float32)
    grad_std = grad_z_value * tl.load(eps_z + row * C + col, mask=valid, other=0.0)
    grad_std += grad_c_value * tl.load(eps_c + in_window, mask=inside, other=0.0)
    grad_kl_value = tl.load(grad_kl) / (num_rows.to(tl.float32) * C)
    grad_mu = grad_z_value + grad_c_value + grad_kl_value * mu
    grad_logvar = 0.5 * (tl.exp(0.5 * logvar) * grad_std + grad_kl_value * (tl.exp(logvar) - 1.0))
    tl.store(grad_head + row * 2 * C + col, grad_mu, mask=valid)
    grad_logvar = tl.where(above, 0.0, grad_logvar)
    tl.store(grad_head + row * 2 * C + C + col, grad_logvar, mask=valid)
