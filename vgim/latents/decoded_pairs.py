"""What analyses with a decoder share: pairs of utterances, decoding, log-mel frames, intervals over pairs.

Shapes: U utterances, P pairs, B clips, T frames, C channels, L samples, M mel bands.
"""

from __future__ import annotations

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vgim.arrays import F64, I64
from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ, Pcm16
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.stream.crops import first_crop
from vgim.downstream.features.encoder_features import EncoderFeatures, EncoderOutput
from vgim.downstream.features.source import batch_clips
from vgim.downstream.intervals import t_quantile
from vgim.errors import DataError
from vgim.extras import import_torchaudio
from vgim.latents.result import LatentOptions
from vgim.model.randomness import mix
from vgim.pretrained.decoder import FrozenDecoder
from vgim.pretrained.opened_run import OpenedRun

NUM_MELS = 80
WINDOW_SAMPLES = 400
"""Samples of a mel window: 25 ms."""
FLOOR = 1e-5
"""Power added before the logarithm: about the power of the last bit of PCM16."""
CLIPS_AT_ONCE = 16


class Pairs(NamedTuple):
    """Latents of crops of one length, and the pairs of them."""

    latents_UTC: Tensor
    first_P: I64
    """Index of each pair's first utterance."""
    second_P: I64
    """Index of each pair's second utterance."""
    num_samples: int
    """Samples of a crop."""


def make_pairs(opened: OpenedRun, decoder: FrozenDecoder, options: LatentOptions) -> Pairs:
    """Encode the first crops of utterances by the decoder's own encoder, and draw ordered pairs of them.

    Raises:
        DataError: Fewer than two utterances are long enough for a crop.
    """
    frozen = decoder.encoder
    source = EncoderFeatures(frozen.encoder, frozen.normalizer, (EncoderOutput(decoder.module),))
    utterances = read_utterances(opened.shards, opened.manifest, options.split, 2 * options.pairs)
    crop = partial(_crop, opened)
    latents = [
        source(clips)[0] for clips in batch_clips(utterances, crop, source.min_samples(), CLIPS_AT_ONCE)
    ]
    num = sum(map(len, latents))
    if num < 2:
        raise DataError(
            f"only {num} of the utterances of the {options.split} split of {opened.shards.uri} are as long as a crop "
            f"of {opened.config.data.crop_samples} samples, and a pair needs two; use another --split or other --shards"
        )
    rng = np.random.default_rng(mix("pairs", options.seed))
    # Each number below num · (num - 1) is one pair: its first utterance, and the distance to its second.
    numbers_P = rng.choice(num * (num - 1), size=min(options.pairs, num * (num - 1)), replace=False)
    first_P = numbers_P // (num - 1)
    second_P = (first_P + 1 + numbers_P % (num - 1)) % num
    return Pairs(torch.cat(latents), first_P, second_P, opened.config.data.crop_samples)


@torch.no_grad()
def decode(decoder: FrozenDecoder, latents_BTC: Tensor, num_samples: int, device: torch.device) -> Tensor:
    """Decode latents to audio [B, L] on the CPU, CLIPS_AT_ONCE at a time."""
    parts = [decoder(part.to(device), num_samples).cpu() for part in torch.split(latents_BTC, CLIPS_AT_ONCE)]
    return torch.cat(parts)


@torch.no_grad()
def log_mel(audio_BL: Tensor) -> Tensor:
    """Natural logarithm of the power in 80 mel bands, [B, T, M], in windows of 25 ms every 10 ms."""
    x_BMT: Tensor = _mel()(audio_BL)
    return (x_BMT + FLOOR).log().mT


def interval_over_pairs(values_P: F64, pairs: Pairs) -> tuple[float, float]:
    """95 % interval of the mean of a value of each pair, on pairs of other utterances.

    Pairs with an utterance in common are not independent. So the variance is that of leaving out one utterance at a
    time with all of its pairs, minus that of leaving out one pair at a time, which the first counts for both of its
    utterances (Aronow et al. 2015; as a jackknife, MacKinnon et al. 2023). It is no less than that of independent
    pairs. The quantile is Student's t, with one degree of freedom less than there are pairs or utterances, whichever
    are fewer. A single pair has an interval without a width.
    """
    mean = float(values_P.mean())
    both_2P = np.sort(np.stack([pairs.first_P, pairs.second_P]), axis=0)
    _, utterance_2P = np.unique(both_2P, return_inverse=True)
    _, pair_P = np.unique(both_2P, axis=1, return_inverse=True)  # both directions are one pair
    num = 1 + int(min(utterance_2P.max(), pair_P.max()))
    if num == 1:
        return mean, mean
    of_pairs = _leave_out(values_P, values_P, pair_P.flatten())
    of_utterances = _leave_out(values_P, np.tile(values_P, 2), utterance_2P.flatten())
    variance = (num - 1) / num * max(of_pairs, of_utterances - of_pairs)
    half = t_quantile(num - 1) * math.sqrt(variance)
    return mean - half, mean + half


def _leave_out(values_P: F64, member_N: F64, group_N: I64) -> float:
    """Sum of squares by which the mean of `values_P` changes when one group of values is left out at a time.

    Args:
        member_N: The values of all groups, one after another.
        group_N: Group of each.
    """
    num_P, num_G = len(values_P), np.bincount(group_N)
    rest_G = num_G < num_P  # without an utterance that is in every pair, nothing is left
    without_G = (values_P.sum() - np.bincount(group_N, member_N))[rest_G] / (num_P - num_G)[rest_G]
    return float(np.square(without_G - values_P.mean()).sum())


def _crop(opened: OpenedRun, utterance: Utterance) -> Pcm16 | None:
    return first_crop(utterance.audio, opened.config.data)


@lru_cache(maxsize=1)
def _mel() -> Any:
    return import_torchaudio("transforms").MelSpectrogram(
        SAMPLE_RATE_HZ, WINDOW_SAMPLES, WINDOW_SAMPLES, HOP_SAMPLES, n_mels=NUM_MELS, center=False
    )
