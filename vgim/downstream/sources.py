"""The features that each kind of encoder gives."""

from __future__ import annotations

from vgim.data.cut import I16
from vgim.data.utterances import Utterance, first_crop, read_utterances
from vgim.downstream.baselines import Mfcc, adapt_batch_norm, untrained_encoder
from vgim.downstream.features import CLIPS_AT_ONCE, EncoderFeatures, FeatureSource, batch_clips
from vgim.downstream.result import EncoderKind
from vgim.downstream.setting import Setting
from vgim.model.stack import Encoder

BATCH_NORM_CLIPS = 1_000
"""Training clips that set a random encoder's BatchNorm."""


def draws_features(setting: Setting, kind: EncoderKind) -> bool:
    """Whether another seed gives other features."""
    return kind == "random" or (kind == "trained" and setting.options.sampled)


def feature_source(setting: Setting, kind: EncoderKind, seed: int) -> tuple[FeatureSource, int]:
    """The features, and how many training clips set a random encoder's BatchNorm."""
    if kind == "mfcc":
        return Mfcc(), 0
    num_clips = 0
    if kind == "trained":
        assert setting.trained is not None
        encoder = setting.trained.encoder
    else:
        encoder = untrained_encoder(setting.config, seed).to(setting.device)
        num_clips = _adapt(encoder, setting)
    sample_seed = seed if setting.options.sampled else None
    normalize = setting.config.data.normalize
    return EncoderFeatures(encoder, setting.readings, normalize, setting.corpus, sample_seed), num_clips


def _adapt(encoder: Encoder, setting: Setting) -> int:
    def crop_or_whole(utterance: Utterance) -> I16:
        crop = first_crop(utterance.audio, setting.config.data)
        return utterance.audio if crop is None else crop

    limit = setting.options.max_utterances or BATCH_NORM_CLIPS
    utterances = read_utterances(setting.shards, setting.manifest, "train", min(limit, BATCH_NORM_CLIPS))
    shortest = encoder.min_samples(-1)
    clips = batch_clips(utterances, crop_or_whole, shortest, CLIPS_AT_ONCE)
    return adapt_batch_norm(encoder, clips, setting.config, setting.corpus)
