"""The Gaussian posterior of a latent and its KL divergence from N(0, 1) (Kingma & Welling 2014).

Shapes: B crops, T frames, C channels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.model.kernels.elementary import expm1
from vgim.model.kl_unit import KLReduction, in_unit
from vgim.model.precision import at_least_fp32


class Posterior(NamedTuple):
    """A diagonal Gaussian per frame: mean and log variance, each [B, T, C], fp32 or finer."""

    mu: Tensor
    logvar: Tensor


class GaussianHead(nn.Linear):
    """μ and log σ² of every frame, from one fused 1×1 projection: rows 0..C-1 of the weight make μ.

    Args:
        channels: C.
        logvar_max: A larger log σ² counts as this much and gets no gradient; infinity for no bound.
        centered: Whether a normalization subtracts the mean of μ, and with it the bias. The bias then stays as drawn:
            its gradient would be rounding alone, which Adam scales up to whole steps.
    """

    def __init__(self, channels: int, logvar_max: float = math.inf, *, centered: bool = False) -> None:
        # Linear and a 1×1 Conv1d have the same default initialization (fan-in C).
        super().__init__(channels, 2 * channels)
        self.logvar_max = logvar_max
        self.centered = centered

    def forward(self, h_BTC: Tensor) -> Posterior:  # type: ignore[override]
        return self.split(self.project(h_BTC), self.logvar_max)

    def project(self, h_BTC: Tensor) -> Tensor:
        """μ and log σ² side by side, [B, T, 2·C], in the precision of the product."""
        if not self.centered:
            return super().forward(h_BTC)
        of_mean_C, of_noise_C = self.bias.chunk(2)
        return F.linear(h_BTC, self.weight, torch.cat([of_mean_C.detach(), of_noise_C]))

    @staticmethod
    def split(head_BTX: Tensor, logvar_max: float = math.inf) -> Posterior:
        """The two halves of `project`'s output, fp32 or finer; a log σ² above `logvar_max` becomes that."""
        mu_BTC, logvar_BTC = at_least_fp32(head_BTX).chunk(2, dim=-1)
        if logvar_max < math.inf:
            logvar_BTC = logvar_BTC.clamp(max=logvar_max)
        return Posterior(mu_BTC, logvar_BTC)


def sample(posterior: Posterior, eps_BTC: Tensor) -> Tensor:
    """z = μ + σ·ε, for ε drawn from N(0, 1): the reparameterization of Kingma & Welling (2014), eq. 4."""
    return torch.addcmul(posterior.mu, torch.exp(0.5 * posterior.logvar), eps_BTC)


def gaussian_kl(mu_BTC: Tensor, logvar_BTC: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) in nats (Kingma & Welling 2014, appendix B)."""
    # expm1(v) - v keeps its digits where σ² is near 1, as it is for an unused dimension.
    return 0.5 * (mu_BTC.square() + expm1(logvar_BTC) - logvar_BTC)


def reduce_kl(kl_BTC: Tensor, reduction: KLReduction, free_bits: float = 0.0) -> Tensor:
    """The KL term, [].

    Args:
        kl_BTC: KL per element, in nats.
        reduction: "time_sum" sums over time and averages over crops and channels (the published unit, where
            the weight scales with T); "mean" averages over everything; "frame" sums over channels and averages over
            crops and frames: nats a frame, whose weight is the β of Higgins et al. (2017, eq. 4).
        free_bits: Nats per channel and frame that cost nothing: a channel whose KL, averaged over crops and
            frames, is lower counts as this much and gets no gradient (Kingma et al. 2016, eq. 15, with every
            channel its own group). 0 is the plain reduction.
    """
    if free_bits > 0:
        mean = kl_BTC.mean((0, 1)).clamp(min=free_bits).mean()
    else:
        mean = kl_BTC.mean()
    return in_unit(mean, kl_BTC.shape[1], kl_BTC.shape[2], reduction)
