"""Posteriors whose mixture over the data has mean 0 and variance 1 in each channel, by construction.

The KL from N(0, 1) counts two things: the information that z carries of the audio, and the distance of z's distribution
over all frames from N(0, 1) (Hoffman & Johnson 2016, "ELBO surgery"). A mean or a scale that is off is paid for in nats
that tell nothing of the audio, and training corrects it slowly. Here neither can be off. Batch normalization of μ, to a
constant scale, is from Zhu et al. (2020, "A Batch Normalized Inference Network Keeps the KL Vanishing Away").

Shapes: B crops, T frames, C channels, R rows (frames of all crops).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vgim.model.kernels.elementary import log_sigmoid
from vgim.model.rank_group import ALONE, RankGroup
from vgim.model.sync import mean_over_ranks, sum_over_ranks


class Moments(NamedTuple):
    """What `PosteriorNorm` knows of a batch, or of what was trained on; [C] each."""

    mean: Tensor
    """Mean of the head's first half over all frames."""
    var: Tensor
    """Biased variance of the head's first half over all frames."""
    noise: Tensor
    """Mean of σ² over all frames."""


class PosteriorNorm(nn.BatchNorm1d):
    """The posterior of a head's output: σ² is a share of the variance of z, and μ has the rest of it.

    With a and b the halves of the head's output, σ² = sigmoid(b), and μ is a, shifted and scaled over all frames to
    mean 0 and variance 1 - mean(σ²). Whatever σ², the variance of z is then Var(μ) + mean(σ²) = 1, and the KL from
    N(0, 1) is -½ log σ² on average over frames: the information that a Gaussian channel of this noise carries. It
    starts near ½ ln 2, half signal and half noise. In training the moments are the batch's, with gradients;
    in evaluation they are running means, as BatchNorm's are.

    Args:
        channels: C.
        group: The ranks whose batches are normalized together.
    """

    running_noise: Tensor

    def __init__(self, channels: int, group: RankGroup = ALONE) -> None:
        super().__init__(channels, affine=False)
        self.register_buffer("running_noise", torch.full((channels,), 0.5))
        self.group = group

    def forward(self, head_BTX: Tensor) -> Tensor:
        """μ and log σ² side by side, [B, T, 2·C], of a head's output of that shape, fp32 or finer."""
        a_BTC, b_BTC = head_BTX.chunk(2, dim=-1)
        moments = self._of_batch(a_BTC, torch.sigmoid(b_BTC)) if self.training else self._running()
        return torch.cat([(a_BTC - moments.mean) * self._scale(moments), log_sigmoid(b_BTC)], -1)

    def reset_running_stats(self) -> None:
        """Forget what was trained on."""
        super().reset_running_stats()
        if "running_noise" in self._buffers:  # not yet, where torch's __init__ calls this
            self.running_noise.fill_(0.5)

    def _scale(self, moments: Moments) -> Tensor:
        # The noise rounds to 1 where a channel is unused, and the root of 0 has no gradient.
        return ((1 - moments.noise).clamp(min=self.eps**2) / (moments.var + self.eps)).sqrt()

    def _of_batch(self, a_BTC: Tensor, noise_BTC: Tensor) -> Moments:
        a_RC, noise_RC = a_BTC.flatten(0, 1), noise_BTC.flatten(0, 1)
        if self.group.size == 1:
            mean_C = a_RC.mean(0)
            moments = Moments(mean_C, (a_RC - mean_C).square().mean(0), noise_RC.mean(0))
        else:
            sums = torch.cat([a_RC.sum(0), noise_RC.sum(0)])
            means, count = mean_over_ranks(sums, len(a_RC), self.group)
            mean_C, noise_C = means.chunk(2)
            # Centered before it is squared: E[a²] - E[a]² loses its digits in fp32.
            squares_C = sum_over_ranks((a_RC - mean_C).square().sum(0), self.group)
            moments = Moments(mean_C, squares_C / count, noise_C)
        self._update_running(moments)
        return moments

    def _running(self) -> Moments:
        assert self.running_mean is not None
        assert self.running_var is not None
        return Moments(self.running_mean, self.running_var, self.running_noise)

    @torch.no_grad()
    def _update_running(self, moments: Moments) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # Without a momentum it is the plain mean of all batches, as in torch.
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running_C, of_batch_C in zip(self._running(), moments, strict=True):
            running_C.lerp_(of_batch_C.detach(), share)
