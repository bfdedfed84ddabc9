"""An untrained encoder of the run's architecture, which a trained one has to beat."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from vgim.config import RunConfig
from vgim.downstream.features.source import ClipBatch
from vgim.model.audio import Normalizer
from vgim.model.randomness import mix
from vgim.model.stack import Encoder, build_encoder


def untrained_encoder(config: RunConfig, seed: int) -> Encoder:
    """Build the config's encoder with weights of another seed than the run's."""
    return build_encoder(config.model, config.objective, mix("untrained", config.train.seed, seed)).eval()


@torch.no_grad()
def adapt_batch_norm(encoder: Encoder, batches: Iterable[ClipBatch], normalizer: Normalizer) -> int:
    """Set every BatchNorm's mean and variance to their average over the batches; weights stay.

    A new BatchNorm has mean 0 and variance 1, so that in evaluation mode it normalizes nothing. Any training would
    look good beside an encoder whose features are not normalized.

    Returns:
        Number of clips that were averaged over; 0 for an encoder without BatchNorm.
    """
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm1d)]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # in torch: the plain average over all batches
    encoder.train()
    num_clips = 0
    try:
        for clips in batches:
            x = clips.normalized(normalizer, next(encoder.parameters()).device)
            for index in range(len(encoder)):
                x = encoder.module(index).represent(x)
            num_clips += len(clips.utterances)
    finally:
        encoder.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return num_clips
