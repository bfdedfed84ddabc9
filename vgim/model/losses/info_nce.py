"""InfoNCE over time (van den Oord et al. 2018, eq. 3 and 4; per module as in Löwe et al. 2019).

Shapes: B crops, T frames, W window frames, C channels (Cc of contexts, Cz of targets), K prediction steps,
N negatives, R rows of the pool of negatives; G groups of M and N rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from vgim.model.draws import Draws
from vgim.model.kernels import fused, scores
from vgim.model.losses.base import ContrastiveLoss, ContrastiveResult
from vgim.model.losses.facts import InfoNCEFacts
from vgim.model.precision import at_least_fp32, autocast_to

TIE_EPS = 64
"""Scores tie if they differ by at most this many rounding units of the positive's score."""


class InfoNCE(InfoNCEFacts, ContrastiveLoss):
    """Cross-entropy of each positive among itself and N negatives, in nats; a score is an inner product."""

    def forward(self, c_BWC: Tensor, z_BTC: Tensor, pool_RC: Tensor, draws: Draws) -> ContrastiveResult:
        """The cross-entropy's mean over crops and frames for each step k, then over the steps.

        Steps k ≥ W have no positive and are left out; W must be at least 2.
        """
        B, W, _ = c_BWC.shape
        K = min(len(self.weight), W - 1)
        weight = self.weight[:K]
        shared = len(draws.negatives) == 1
        if shared and scores.applies(c_BWC):
            return self._result(*scores.scores(c_BWC, weight, z_BTC, pool_RC, draws))
        # One wide product for all steps, as rows [B·W, K, Cz]. Steps past the window's end are masked below.
        predictions = F.linear(c_BWC.reshape(B * W, -1), weight.flatten(0, 1)).view(B, W, K, -1)
        with autocast_to(None, c_BWC.device):
            # A GPU multiplies half precision as it is and sums in fp32; the scores are fp32 either way.
            if predictions.device.type == "cpu":
                predictions = at_least_fp32(predictions)
            z_BTC, pool_RC = z_BTC.to(predictions.dtype), pool_RC.to(predictions.dtype)
            if shared and fused.applies(predictions):
                return ContrastiveResult(*fused.info_nce(predictions, z_BTC, pool_RC, draws, TIE_EPS))
            positive_BWK = self._positive_scores(predictions, draws.window(z_BTC))
            return self._result(
                positive_BWK, self._negative_scores(predictions, pool_RC, draws.negatives[:K])
            )

    @staticmethod
    def _result(positive_BWK: Tensor, negative_BWKN: Tensor) -> ContrastiveResult:
        B, W, K = positive_BWK.shape
        # Cross-entropy = log(1 + Σ exp(s⁻ - s⁺)), without a copy that joins s⁺ to the s⁻.
        margins = negative_BWKN - positive_BWK[..., None]
        nce_BWK = F.softplus(margins.logsumexp(-1))
        # A negative may be the positive itself; its score then differs by rounding alone, and is a tie.
        tie_BWK = TIE_EPS * torch.finfo(margins.dtype).eps * (1 + positive_BWK.detach().abs())
        first_BWK = margins.detach().amax(-1) < -tie_BWK
        t = torch.arange(W, device=margins.device)[:, None]
        valid_WK = t + torch.arange(1, K + 1, device=margins.device) < W
        # Mean over crops and valid t for each k, then over k, as one weighting.
        share_WK = valid_WK.to(nce_BWK.dtype) / (valid_WK.sum(0) * (B * K))
        return ContrastiveResult((nce_BWK * share_WK).sum(), (first_BWK * share_WK).sum())

    @staticmethod
    def _positive_scores(predictions: Tensor, z_BWC: Tensor) -> Tensor:
        return (positives_by_step if z_BWC.device.type == "cpu" else positives_by_band)(predictions, z_BWC)

    @staticmethod
    def _negative_scores(predictions: Tensor, pool_RC: Tensor, negatives_KBWN: Tensor) -> Tensor:
        B, W, K, Cz = predictions.shape
        N = negatives_KBWN.shape[-1]
        if len(negatives_KBWN) == 1:
            rows = F.embedding(negatives_KBWN.view(B * W, N), pool_RC)
            return score_products(predictions.view(B * W, K, Cz), rows).view(B, W, K, N)
        scores = []
        for rows_BWN, prediction in zip(negatives_KBWN, predictions.unbind(2), strict=True):
            rows = F.embedding(rows_BWN.reshape(B * W, N), pool_RC)
            scores.append(score_products(rows, prediction.reshape(B * W, 1, Cz)).view(B, W, N))
        return torch.stack(scores, 2)


def positives_by_step(predictions: Tensor, z_BWC: Tensor) -> Tensor:
    """Scores [B, W, K] of predictions [B, W, K, C] with the frames 1 to K later; undefined past the window's end."""
    W, K = predictions.shape[1:3]
    padded = F.pad(z_BWC, (0, 0, 0, K))
    scores = [
        (prediction * padded[:, k : k + W]).sum(-1)
        for k, prediction in enumerate(predictions.unbind(2), start=1)
    ]
    return torch.stack(scores, -1)


def positives_by_band(predictions: Tensor, z_BWC: Tensor) -> Tensor:
    """`positives_by_step` from the products of all pairs of frames: W times the arithmetic, one pass instead of K."""
    B, W, K, C = predictions.shape
    step_K = torch.arange(1, K + 1, device=z_BWC.device)
    later_WK = (torch.arange(W, device=z_BWC.device)[:, None] + step_K).clamp_(max=W - 1)
    scores_BWKW = score_products(predictions.view(B, W * K, C), z_BWC).view(B, W, K, W)
    return scores_BWKW.gather(3, later_WK[None, :, :, None].expand(B, W, K, 1))[..., 0]


class _Fp32Products(torch.autograd.Function):
    """a @ b.mT of half precision, in fp32, so that no score is rounded."""

    @staticmethod
    def forward(ctx: Any, a_GMC: Tensor, b_GNC: Tensor) -> Tensor:
        ctx.save_for_backward(a_GMC, b_GNC)
        products: Tensor = torch.bmm(a_GMC, b_GNC.mT, out_dtype=torch.float32)
        return products

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        a_GMC, b_GNC = ctx.saved_tensors
        grad_GMN = grads[0].to(a_GMC.dtype)
        return torch.bmm(grad_GMN, b_GNC), torch.bmm(grad_GMN.mT, a_GMC)


def score_products(a_GMC: Tensor, b_GNC: Tensor) -> Tensor:
    """Inner products [G, M, N] of all rows of `a` with all rows of `b` in each group, fp32 or finer."""
    if a_GMC.dtype == torch.bfloat16:
        products: Tensor = _Fp32Products.apply(a_GMC, b_GNC)
        return products
    return torch.bmm(a_GMC, b_GNC.mT)
