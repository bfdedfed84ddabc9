"""Statistics of normalizations on audio without augmentation, for readers of a checkpoint.

Under `data.augment`, running statistics of BatchNorm and of normalized posteriors are those of augmented crops, with
which training and validation go on. Probes, decoders and exports read recordings without noise. For them, checkpoints
that stay have the statistics of crops as they were recorded, beside those of training.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from vgim.config import AnyConfig, RunConfig
from vgim.model.running_statistics import measure_running_statistics
from vgim.model.stack import build_encoder

NUM_CROPS = 256
"""Crops that are measured, at least, if training has as many."""


def are_of_other_audio(config: AnyConfig) -> bool:
    """Whether a run's running statistics are of other audio than its readers have."""
    if not isinstance(config, RunConfig) or not config.data.augment.is_on:
        return False
    return config.model.batch_norm != "none" or config.model.posterior_norm != "none"


def clean_statistics(
    config: RunConfig, weights: Mapping[str, Tensor], batches: Iterable[Tensor], device: torch.device
) -> dict[str, Tensor]:
    """Measure the statistics of an encoder, [C] each, by the names of its buffers.

    Args:
        config: The run's config.
        weights: The encoder's parameters and buffers.
        batches: Normalized audio without augmentation, [B, L] each.
        device: Where to compute it.
    """
    encoder = build_encoder(config.model, config.objective, config.train.seed).to(device)
    encoder.load_state_dict(weights)
    measure_running_statistics(encoder, batches)
    return {name: buffer for name, buffer in encoder.named_buffers() if buffer.is_floating_point()}
