"""A script that compares the fused kernels with torch's operations, on a CPU under TRITON_INTERPRET=1.

Usage: cases.py; it prints nothing if all numbers agree, and fails otherwise.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from vgim.config.schema import ObjectiveConfig
from vgim.model.draws import Draws
from vgim.model.kernels import fused
from vgim.model.losses.info_nce import TIE_EPS, InfoNCE
from vgim.model.posterior import Posterior, gaussian_kl, sample

B, T, C = 2, 5, 20  # neither a power of two nor a multiple of what a program takes
generator = torch.Generator().manual_seed(0)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator).requires_grad_()


def draws_of(num_window: int, start: int, num_negatives: int) -> Draws:
    rows = torch.randint(B * T, (1, B, num_window, num_negatives), generator=generator)
    eps_z, eps_c = drawn(B, T, C).detach(), drawn(B, num_window, C).detach()
    return Draws(start, rows, False, eps_z, eps_c)


def check_sampling(draws: Draws, logvar_max: float) -> None:
    head = drawn(B, T, 2 * C)
    mu, logvar = head.chunk(2, -1)
    assert logvar_max == math.inf or (logvar > logvar_max).any()
    posterior = Posterior(mu, logvar.clamp(max=logvar_max))
    in_window = Posterior(draws.window(posterior.mu), draws.window(posterior.logvar))
    assert draws.eps_z is not None
    assert draws.eps_c is not None
    expected = (
        sample(posterior, draws.eps_z),
        sample(in_window, draws.eps_c),
        gaussian_kl(*posterior).mean(),
    )
    got = fused.sample_and_kl(head, draws, logvar_max)
    grads = [drawn(*tensor.shape).detach() for tensor in expected]
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(
        torch.autograd.grad(got, head, grads), torch.autograd.grad(expected, head, grads)
    )


def check_loss(draws: Draws, num_steps: int, pool_is_z: bool) -> None:
    nce = InfoNCE(ObjectiveConfig(predictor_init="uniform"), num_steps, C, C)
    num_window = draws.negatives.shape[2]
    c_BWC, z_BTC, other = drawn(B, num_window, C), drawn(B, T, C), drawn(B * T, C)
    pool = z_BTC.view(B * T, C) if pool_is_z else other
    inputs = [c_BWC, z_BTC, nce.weight, *([] if pool_is_z else [other])]
    expected = nce(c_BWC, z_BTC, pool, draws)
    steps = min(num_steps, num_window - 1)
    wide = F.linear(c_BWC, nce.weight[:steps].flatten(0, 1))
    predictions = wide.view(B, num_window, steps, C)
    got = fused.info_nce(predictions, z_BTC, pool, draws, TIE_EPS)
    torch.testing.assert_close(got, tuple(expected))
    torch.testing.assert_close(
        torch.autograd.grad(3 * got[0], inputs), torch.autograd.grad(3 * expected.loss, inputs)
    )


for num_window, start, num_negatives, num_steps, pool_is_z in (
    (4, 1, 3, 3, True),
    (3, 1, 17, 3, False),  # more negatives than the smallest padded number, 16
    (5, 0, 1, 12, True),  # all frames, and more steps than they have
    (2, 3, 2, 12, False),
):
    case = draws_of(num_window, start, num_negatives)
    for bound in (math.inf, 0.5):
        check_sampling(case, bound)
    check_loss(case, num_steps, pool_is_z)
