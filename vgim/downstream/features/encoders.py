"""The features that each kind of encoder gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.stream.crops import first_crop
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.baselines import Mfcc, adapt_batch_norm, untrained_encoder
from vgim.downstream.features.features import CLIPS_AT_ONCE, EncoderFeatures, FeatureSource, batch_clips
from vgim.downstream.features.supervised import teach
from vgim.downstream.result import EncoderKind
from vgim.model.stack import Encoder

BATCH_NORM_CLIPS = 1_000
"""Training clips that set a random encoder's BatchNorm."""


class Preparation(NamedTuple):
    """What was done to make a baseline's encoder."""

    batch_norm_clips: int = 0
    """Training clips that set a random encoder's BatchNorm."""
    label_epochs: int = 0
    """Epochs that a supervised encoder was trained on the labels."""


def draws_features(setting: ProbeContext, kind: EncoderKind) -> bool:
    """Whether another seed gives other features."""
    return kind not in ("trained", "mfcc") or (kind == "trained" and setting.options.sampled)


def feature_source(
    setting: ProbeContext, kind: EncoderKind, seed: int, say: Callable[[str], None] = lambda line: None
) -> tuple[FeatureSource, Preparation]:
    """The features, and how the encoder behind them was made; `say` is told of training on labels."""
    if kind == "mfcc":
        return Mfcc(), Preparation()
    made = Preparation()
    if kind == "trained":
        encoder = setting.opened.encoder.encoder
    elif kind == "random":
        encoder = untrained_encoder(setting.opened.config, seed).to(setting.opened.device)
        made = Preparation(batch_norm_clips=_adapt(encoder, setting))
    else:
        taught = teach(setting, kind, seed, say)
        encoder, made = taught.encoder, Preparation(label_epochs=taught.epochs)
    sample_seed = seed if setting.options.sampled else None
    return EncoderFeatures(encoder, setting.opened.normalizer, setting.readings, sample_seed), made


def _adapt(encoder: Encoder, setting: ProbeContext) -> int:
    def crop_or_whole(utterance: Utterance) -> Pcm16:
        crop = first_crop(utterance.audio, setting.opened.config.data)
        return utterance.audio if crop is None else crop

    limit = setting.options.max_utterances or BATCH_NORM_CLIPS
    utterances = read_utterances(
        setting.opened.shards, setting.opened.manifest, "train", min(limit, BATCH_NORM_CLIPS)
    )
    shortest = encoder.min_samples(-1)
    clips = batch_clips(utterances, crop_or_whole, shortest, CLIPS_AT_ONCE)
    return adapt_batch_norm(encoder, clips, setting.opened.normalizer)
