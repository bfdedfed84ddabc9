"""Sampling the posterior and its KL divergence in one pass over memory, forward and back, for GPUs.

The formulas are those of `posterior`. As separate operations they read and write the latents some forty times.

Shapes: B crops, T frames, W window frames, C channels; R = B·T rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

ROWS = 4  # of a program


class Sampled(NamedTuple):
    """Targets [B, T, C] and contexts [B, W, C], in the projection's dtype, and the mean KL per element, fp32."""

    z_BTC: Tensor
    c_BWC: Tensor
    kl_per_element: Tensor


def sample_and_kl(head_BTX: Tensor, eps_z_BTC: Tensor, eps_c_BWC: Tensor, start: Tensor) -> Sampled:
    """z = μ + σ·ε for all frames, the window's contexts with noise of their own, and the mean of KL.

    Args:
        head_BTX: μ, then log σ²: [B, T, 2·C], contiguous.
        start: The window's first frame, [] int64.
    """
    z_BTC, c_BWC, kl_per_element = _SampleAndKL.apply(head_BTX, eps_z_BTC, eps_c_BWC, start)
    return Sampled(z_BTC, c_BWC, kl_per_element)


class _SampleAndKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, head_BTX: Tensor, eps_z_BTC: Tensor, eps_c_BWC: Tensor, start: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        B, T, C = eps_z_BTC.shape
        z_BTC, c_BWC = (head_BTX.new_empty(eps.shape) for eps in (eps_z_BTC, eps_c_BWC))
        programs = triton.cdiv(B * T, ROWS)
        kl_P = eps_z_BTC.new_empty(programs)
        sizes = (B * T, T, eps_c_BWC.shape[1], C, ROWS, triton.next_power_of_2(C))
        _sample[(programs,)](head_BTX, eps_z_BTC, eps_c_BWC, start, z_BTC, c_BWC, kl_P, *sizes)
        ctx.save_for_backward(head_BTX, eps_z_BTC, eps_c_BWC, start)
        ctx.sizes = sizes
        return z_BTC, c_BWC, kl_P.sum() / (B * T * C)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        head_BTX, eps_z_BTC, eps_c_BWC, start = ctx.saved_tensors
        grad_z, grad_c, grad_kl = (grad.contiguous() for grad in grads)
        grad_head = torch.empty_like(head_BTX)
        num_rows = ctx.sizes[0]
        _sample_back[(triton.cdiv(num_rows, ROWS),)](
            head_BTX, eps_z_BTC, eps_c_BWC, start, grad_z, grad_c, grad_kl, grad_head, *ctx.sizes
        )
        return grad_head, None, None, None


@triton.jit  # type: ignore[untyped-decorator]
def _places(start, num_rows, T, W, C: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Offsets of a program's values in [R, C] and in [B, W, C], and which of them exist."""
    row = (tl.program_id(0) * ROWS + tl.arange(0, ROWS)).to(tl.int64)[:, None]
    col = tl.arange(0, WIDTH)[None, :]
    there = (row < num_rows) & (col < C)
    window = row % T - tl.load(start)
    inside = there & (window >= 0) & (window < W)
    return row, col, there, (row // T * W + window) * C + col, inside


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
    C: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row, col, there, in_window, inside = _places(start, num_rows, T, W, C, ROWS, WIDTH)
    mu = tl.load(head + row * 2 * C + col, mask=there, other=0.0).to(tl.float32)
    logvar = tl.load(head + row * 2 * C + C + col, mask=there, other=0.0).to(tl.float32)
    std = tl.exp(0.5 * logvar)
    noise = tl.load(eps_z + row * C + col, mask=there, other=0.0)
    tl.store(z + row * C + col, mu + std * noise, mask=there)
    noise = tl.load(eps_c + in_window, mask=inside, other=0.0)
    tl.store(c + in_window, mu + std * noise, mask=inside)
    terms = 0.5 * (mu * mu + tl.exp(logvar) - 1.0 - logvar)
    tl.store(kl + tl.program_id(0), tl.sum(tl.where(there, terms, 0.0)))


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
    C: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row, col, there, in_window, inside = _places(start, num_rows, T, W, C, ROWS, WIDTH)
    mu = tl.load(head + row * 2 * C + col, mask=there, other=0.0).to(tl.float32)
    logvar = tl.load(head + row * 2 * C + C + col, mask=there, other=0.0).to(tl.float32)
    of_z = tl.load(grad_z + row * C + col, mask=there, other=0.0).to(tl.float32)
    of_c = tl.load(grad_c + in_window, mask=inside, other=0.0).to(tl.float32)
    of_std = of_z * tl.load(eps_z + row * C + col, mask=there, other=0.0)
    of_std += of_c * tl.load(eps_c + in_window, mask=inside, other=0.0)
    of_kl = tl.load(grad_kl) / (num_rows.to(tl.float32) * C)
    of_mu = of_z + of_c + of_kl * mu
    of_logvar = 0.5 * (tl.exp(0.5 * logvar) * of_std + of_kl * (tl.exp(logvar) - 1.0))
    tl.store(grad_head + row * 2 * C + col, of_mu, mask=there)
    tl.store(grad_head + row * 2 * C + C + col, of_logvar, mask=there)
