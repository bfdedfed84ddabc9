"""Statistics of normalizations on audio without augmentation, for readers of a checkpoint.

Under `data.augment`, running statistics of BatchNorm and of normalized posteriors are those of augmented crops, with
which training and validation go on. Probes, decoders and exports read recordings without noise. For them, checkpoints
that stay have the statistics of crops as they were recorded, beside those of training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from torch import Tensor

from vgim.config import AnyConfig, RunConfig
from vgim.model.running_statistics import measure_running_statistics
from vgim.model.stack import build_encoder
from vgim.runs.checkpoint import Checkpoint, checkpoint_location
from vgim.runs.layout import STATE, STATISTICS
from vgim.runs.weights import add_statistics
from vgim.storage import Location
from vgim.training.rank_batches import RankBatches

NUM_CROPS = 256
"""Crops that are measured, at least, if training has as many."""


def are_of_other_audio(config: AnyConfig) -> bool:
    """Whether a run's running statistics are of other audio than its readers have."""
    if not isinstance(config, RunConfig) or not config.data.augment.is_on:
        return False
    return config.model.batch_norm != "none" or config.model.posterior_norm != "none"


def clean_statistics(
    config: AnyConfig, weights: Mapping[str, Tensor], batches: RankBatches
) -> dict[str, Tensor]:
    """Measure the statistics of an encoder, [C] each, by the names of its buffers.

    Args:
        config: The run's config, of which `are_of_other_audio` is true.
        weights: The encoder's parameters and buffers.
        batches: Of a rank that reads audio.
    """
    assert isinstance(config, RunConfig)
    encoder = build_encoder(config.model, config.objective, config.train.seed).to(batches.device)
    encoder.load_state_dict(weights)
    with closing(batches.as_recorded(NUM_CROPS)) as crops:
        measure_running_statistics(encoder, crops)
    return {name: buffer for name, buffer in encoder.named_buffers() if buffer.is_floating_point()}


def complete_for_readers(
    run: Location, step: int, config: AnyConfig, batches: RankBatches, check_claim: Callable[[], None]
) -> None:
    """Add the statistics to a finished run's last checkpoint, if it was written on the way or has lost its own.

    Args:
        run: The run's folder.
        step: The last step.
        config: The run's config.
        batches: Of a rank that reads audio.
        check_claim: Raises an error if another launch has taken over the run's folder.
    """
    location = checkpoint_location(run, step)
    if not (are_of_other_audio(config) and location.child(STATE).exists()):
        return
    checkpoint = Checkpoint.open(location)
    if STATISTICS not in checkpoint.state.files or checkpoint.damage((STATISTICS,)):
        statistics = clean_statistics(config, checkpoint.weights(), batches)
        check_claim()
        add_statistics(checkpoint, statistics)
