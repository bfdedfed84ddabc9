"""InfoNCE over time (van den Oord et al. 2018, eq. 3 and 4; per module as in Löwe et al. 2019).

Shapes: B crops, T frames, W window frames, C channels (Cc of contexts, Cz of targets), K prediction steps,
N negatives, R rows of the pool of negatives.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.model.precision import at_least_fp32

TIE_EPS = 64
"""Scores closer than this many rounding units of the positive's score are a tie."""


class InfoNCEResult(NamedTuple):
    """Two scalars: the loss in nats, and the share of positives ranked first (a tie is not first)."""

    loss: Tensor
    accuracy: Tensor


class InfoNCE(nn.Module):
    """K linear maps without bias, `weight[k-1]` predicting z_{t+k} from c_t, and the contrastive loss."""

    def __init__(
        self, num_steps: int, channels_context: int, channels_target: int, init: Literal["zero", "uniform"]
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_steps, channels_target, channels_context))
        if init == "uniform":  # nn.Linear's default for one map of this fan-in
            bound = 1 / math.sqrt(channels_context)
            nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, c_BWC: Tensor, z_BWC: Tensor, pool_RC: Tensor, negatives_KBWN: Tensor) -> InfoNCEResult:
        """Mean over steps of the cross-entropy of each positive among itself and N negatives.

        Args:
            c_BWC: Contexts of the window.
            z_BWC: Targets of the same frames; the positive of (t, k) is frame t + k.
            pool_RC: Rows that negatives are taken from.
            negatives_KBWN: Rows for each context; see `Draws`.

        Steps k ≥ W have no positive and are left out; W must be at least 2.
        """
        B, W, Cz = z_BWC.shape
        K = min(len(self.weight), W - 1)
        # One wide product for all steps, as rows [B·W, K, Cz]; what is past the window's end is masked below.
        predictions = F.linear(c_BWC.reshape(B * W, -1), self.weight[:K].flatten(0, 1)).view(B, W, K, Cz)
        with torch.autocast(c_BWC.device.type, enabled=False):
            predictions, z_BWC, pool_RC = (at_least_fp32(x) for x in (predictions, z_BWC, pool_RC))
            positive_BWK = self._positive_scores(predictions, z_BWC)
            negative_BWKN = self._negative_scores(predictions, pool_RC, negatives_KBWN[:K])
            # Cross-entropy = log(1 + Σ exp(s⁻ - s⁺)), without a copy that joins s⁺ to the s⁻.
            margins = negative_BWKN - positive_BWK[..., None]
            nce_BWK = F.softplus(margins.logsumexp(-1))
            # A negative may be the positive itself; its score then differs by rounding alone, and is a tie.
            tie_BWK = TIE_EPS * torch.finfo(margins.dtype).eps * (1 + positive_BWK.detach().abs())
            first_BWK = margins.detach().amax(-1) < -tie_BWK
            t = torch.arange(W, device=z_BWC.device)[:, None]
            valid_WK = t + torch.arange(1, K + 1, device=z_BWC.device) < W
            # Mean over crops and valid t for each k, then over k, as one weighting.
            share_WK = valid_WK.to(nce_BWK.dtype) / (valid_WK.sum(0) * (B * K))
            return InfoNCEResult((nce_BWK * share_WK).sum(), (first_BWK * share_WK).sum())

    @staticmethod
    def _positive_scores(predictions: Tensor, z_BWC: Tensor) -> Tensor:
        W, K = predictions.shape[1:3]
        padded = F.pad(z_BWC, (0, 0, 0, K))
        scores = [
            (prediction * padded[:, k : k + W]).sum(-1)
            for k, prediction in enumerate(predictions.unbind(2), start=1)
        ]
        return torch.stack(scores, -1)

    @staticmethod
    def _negative_scores(predictions: Tensor, pool_RC: Tensor, negatives_KBWN: Tensor) -> Tensor:
        B, W, K, Cz = predictions.shape
        N = negatives_KBWN.shape[-1]
        if len(negatives_KBWN) == 1:
            rows = F.embedding(negatives_KBWN.view(B * W, N), pool_RC)
            return torch.bmm(predictions.view(B * W, K, Cz), rows.mT).view(B, W, K, N)
        scores = []
        for rows_BWN, prediction in zip(negatives_KBWN, predictions.unbind(2), strict=True):
            rows = F.embedding(rows_BWN.reshape(B * W, N), pool_RC)
            scores.append(torch.bmm(rows, prediction.reshape(B * W, Cz, 1)).view(B, W, N))
        return torch.stack(scores, 2)
