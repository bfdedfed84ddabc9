"""The normalization that belongs to a checkpoint's weights."""

from __future__ import annotations

from vgim.config import DecoderConfig, RunConfig
from vgim.errors import CheckpointError, DataError
from vgim.model.audio import Normalizer, Statistics
from vgim.runs.checkpoint import Checkpoint


def normalizer_of(checkpoint: Checkpoint | None, config: RunConfig | DecoderConfig) -> Normalizer:
    """The normalizer of the weights in a checkpoint.

    The statistics of the training shards are read from the checkpoint. Checkpoints of vgim 0.1.0 hold none, and
    without a checkpoint there are none: then the run's shards are read.

    Args:
        checkpoint: Of the run; None where it has none yet.
        config: The run's config.

    Raises:
        CheckpointError: `data.normalize: corpus`, and neither the checkpoint nor the shards tell the statistics.
    """
    mode = config.data.normalize
    if mode == "none":
        return Normalizer()
    state = None if checkpoint is None else checkpoint.state
    if state is not None and state.corpus_mean is not None and state.corpus_std is not None:
        return Normalizer(mode, Statistics(state.corpus_mean, state.corpus_std))
    try:
        return Normalizer(mode, _of_shards(config.data.shards))
    except DataError as error:
        if mode == "utterance":  # which needs the corpus's statistics only to invert
            return Normalizer(mode)
        whose = "the run" if checkpoint is None else f"{checkpoint.location.uri}"
        raise CheckpointError(
            f"{whose} was trained with data.normalize=corpus and holds no corpus statistics, and its shards do not "
            f"read ({error}); put the shards back at {config.data.shards}, or continue the run, whose next checkpoint "
            "will hold them"
        ) from error


def _of_shards(shards: str) -> Statistics:
    from vgim.data.shards.manifest import read_manifest  # not needed for checkpoints that hold the statistics

    manifest = read_manifest(shards)
    return Statistics(manifest.corpus_mean, manifest.corpus_std)
