"""The feature source of each kind of encoder, with the encoder loaded, drawn or trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.stream.crops import first_crop
from vgim.downstream.context import ProbeContext
from vgim.downstream.encoders.supervised import train_on_labels
from vgim.downstream.encoders.untrained import adapt_batch_norm, untrained_encoder
from vgim.downstream.features.encoder_features import EncoderFeatures
from vgim.downstream.features.mfcc import Mfcc
from vgim.downstream.features.source import CLIPS_AT_ONCE, FeatureSource, batch_clips
from vgim.downstream.options import EncoderKind
from vgim.model.stack import Encoder

BATCH_NORM_CLIPS = 1_000
"""Most training clips that set a random encoder's BatchNorm."""


class EncoderPreparation(NamedTuple):
    """How the encoder of a baseline was made."""

    batch_norm_clips: int = 0
    """Training clips that set a random encoder's BatchNorm."""
    label_epochs: int = 0
    """Epochs that a supervised encoder was trained on the labels."""


def depends_on_seed(context: ProbeContext, kind: EncoderKind) -> bool:
    """Whether another seed gives other features."""
    return kind not in ("trained", "mfcc") or (kind == "trained" and context.options.sampled)


class RandomEncoders:
    """Draws untrained encoders, and keeps the last one, which the next task probes too."""

    def __init__(self) -> None:
        self._last: tuple[str, Encoder, EncoderPreparation] | None = None

    def draw(self, context: ProbeContext, seed: int) -> tuple[Encoder, EncoderPreparation]:
        """Draw an untrained encoder and set its BatchNorm; of the last one, neither is done again."""
        opened = context.opened
        key = repr(
            (
                opened.config.model_dump_json(include={"model", "objective", "data", "train"}),
                opened.normalizer,
                opened.manifest.fingerprint,
                opened.shards.uri,
                str(opened.device),
                context.options.max_utterances,
                seed,
            )
        )
        if self._last is None or self._last[0] != key:
            encoder = untrained_encoder(opened.config, seed).to(opened.device)
            num_clips = _adapt_batch_norm(encoder, context)
            self._last = key, encoder, EncoderPreparation(batch_norm_clips=num_clips)
        return self._last[1:]


def feature_source(
    context: ProbeContext,
    kind: EncoderKind,
    seed: int,
    log: Callable[[str], None] = lambda line: None,
    random: RandomEncoders | None = None,
) -> tuple[FeatureSource, EncoderPreparation]:
    """Make the feature source of a kind of encoder.

    Args:
        log: Called with the progress of training on labels.
        random: Draws a random encoder; None draws one for this call alone.

    Returns:
        The source, and how its encoder was made.
    """
    if kind == "mfcc":
        return Mfcc(), EncoderPreparation()
    opened, preparation = context.opened, EncoderPreparation()
    if kind == "trained":
        encoder = opened.encoder.encoder
    elif kind == "random":
        encoder, preparation = (random or RandomEncoders()).draw(context, seed)
    else:
        supervised = train_on_labels(context, kind, seed, log)
        encoder, preparation = supervised.encoder, EncoderPreparation(label_epochs=supervised.epochs)
    sample_seed = seed if context.options.sampled else None
    source = EncoderFeatures(encoder, opened.normalizer, context.outputs, sample_seed, context.concat)
    return source, preparation


def _adapt_batch_norm(encoder: Encoder, context: ProbeContext) -> int:
    """Set BatchNorm's statistics from clips of the train split; returns their number."""

    def crop_or_whole(utterance: Utterance) -> Pcm16:
        crop = first_crop(utterance.audio, context.opened.config.data)
        return utterance.audio if crop is None else crop

    limit = min(context.options.max_utterances or BATCH_NORM_CLIPS, BATCH_NORM_CLIPS)
    utterances = read_utterances(context.opened.shards, context.opened.manifest, "train", limit)
    clips = batch_clips(utterances, crop_or_whole, encoder.min_samples(-1), CLIPS_AT_ONCE)
    return adapt_batch_norm(encoder, clips, context.opened.normalizer)
