"""An untrained encoder of the run's architecture, which a trained one has to beat."""

from __future__ import annotations

from collections.abc import Iterable

from vgim.config import RunConfig
from vgim.downstream.features.source import ClipBatch
from vgim.model.audio import Normalizer
from vgim.model.randomness import mix
from vgim.model.running_statistics import measure_running_statistics
from vgim.model.stack import Encoder, build_encoder


def untrained_encoder(config: RunConfig, seed: int) -> Encoder:
    """Build the config's encoder with weights of another seed than the run's."""
    return build_encoder(config.model, config.objective, mix("untrained", config.train.seed, seed)).eval()


def adapt_batch_norm(encoder: Encoder, batches: Iterable[ClipBatch], normalizer: Normalizer) -> int:
    """Set every BatchNorm's mean and variance to their average over the batches; weights stay.

    A new BatchNorm has mean 0 and variance 1, so that in evaluation mode it normalizes nothing. Any training would
    look good beside an encoder whose features are not normalized.

    Returns:
        Number of clips that were averaged over; 0 for an encoder without BatchNorm.
    """
    device = next(encoder.parameters()).device
    return measure_running_statistics(encoder, (clips.normalized(normalizer, device) for clips in batches))
