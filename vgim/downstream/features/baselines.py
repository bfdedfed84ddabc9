"""What a trained encoder has to beat: the same encoder untrained, and MFCCs.

Shapes: B clips, L samples, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.config import RunConfig
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ
from vgim.downstream.features.features import CLIPS_AT_ONCE, Clips, View
from vgim.model.audio import Normalizer, to_float
from vgim.model.randomness import mix
from vgim.model.stack import Encoder, build_encoder

NUM_MFCC, NUM_MELS = 13, 40
WINDOW_SAMPLES = 400
"""25 ms."""


def untrained_encoder(config: RunConfig, seed: int) -> Encoder:
    """The config's encoder with weights of another seed than the run's."""
    return build_encoder(config.model, config.objective, mix("untrained", config.train.seed, seed)).eval()


@torch.no_grad()
def adapt_batch_norm(encoder: Encoder, batches: Iterable[Clips], normalizer: Normalizer) -> int:
    """Set every BatchNorm's mean and variance to the average over the batches; no weight changes.

    A new BatchNorm has mean 0 and variance 1, so that in evaluation mode it normalizes nothing: against such
    an encoder any training would look good.

    Returns:
        Clips it looked at; 0 where the encoder has no BatchNorm.
    """
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm1d)]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for the plain average over all batches
    encoder.train()
    count = 0
    try:
        for clips in batches:
            x = clips.normalized(normalizer, next(encoder.parameters()).device)
            for index in range(len(encoder)):
                x = encoder.module(index).represent(x)
            count += len(clips.utterances)
    finally:
        encoder.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return count


@dataclass(frozen=True)
class Mfcc:
    """13 MFCCs with first and second differences, one frame per 10 ms (torchaudio).

    Frame t is centered on the middle of the t-th 10 ms, as a phone's label is, and there are as many frames as
    whole 10 ms. The logarithm has a fixed floor, so that a clip's features do not depend on its batch.
    """

    views: tuple[View, ...] = (View(None, HOP_SAMPLES, 3 * NUM_MFCC),)
    clips_at_once: int = CLIPS_AT_ONCE

    @cached_property
    def _transforms(self) -> tuple[Any, Any]:
        from torchaudio.transforms import MFCC, ComputeDeltas

        mel = {
            "n_fft": WINDOW_SAMPLES,
            "win_length": WINDOW_SAMPLES,
            "hop_length": HOP_SAMPLES,
            "n_mels": NUM_MELS,
            "center": False,
        }
        return MFCC(SAMPLE_RATE_HZ, NUM_MFCC, log_mels=True, melkwargs=mel), ComputeDeltas()

    def identity(self) -> dict[str, object]:
        return {"mfcc": [NUM_MFCC, NUM_MELS, WINDOW_SAMPLES]}

    def min_samples(self) -> int:
        return HOP_SAMPLES

    def __call__(self, clips: Clips) -> list[Tensor]:
        """[B, L // 160, 39]."""
        mfcc, deltas = self._transforms
        margin = (WINDOW_SAMPLES - HOP_SAMPLES) // 2
        x_BCT = mfcc(F.pad(to_float(clips.audio_BL), (margin, margin)))
        first_BCT = deltas(x_BCT)
        return [torch.cat([x_BCT, first_BCT, deltas(first_BCT)], 1).mT]
