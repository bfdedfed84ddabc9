"""Features of utterances by the chosen modules of an encoder, in batches of similar length.

Shapes: B utterances, L samples, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from vgim.arrays import F32
from vgim.export.features.corpus import Clip
from vgim.export.features.options import Kind
from vgim.model.randomness import mix, seeded_generator
from vgim.pretrained.encoder import FrozenEncoder

BATCH_SAMPLES = 16_000 * 120
"""Most samples in a batch, padding included: at 512 channels, the first module's frames take 200 MB."""
LENGTH_SPREAD = 1.25
"""Longest utterance of a batch over its shortest."""


class Encoded(NamedTuple):
    """An utterance with its features."""

    clip: Clip
    features: dict[int, F32]
    """[T, C] by module."""


def encode_clips(
    encoder: FrozenEncoder, clips: Iterable[Clip], modules: Sequence[int], kind: Kind, seed: int
) -> Iterator[Encoded]:
    """Encode utterances; they come out ordered by length.

    Args:
        encoder: The encoder.
        clips: Utterances, each long enough for a frame of every module.
        modules: Indices of the modules, counted from the input.
        kind: Which features.
        seed: Seed of samples; an utterance's sample depends on the seed and its id alone.
    """
    ordered = sorted(clips, key=lambda clip: len(clip.audio))
    batches = similar_lengths(ordered) if kind == "mu" else [[clip] for clip in ordered]
    for batch in batches:
        if kind == "std":
            yield Encoded(batch[0], _deviations(encoder, batch[0], modules))
            continue
        generator = None
        if kind == "z":
            device = next(encoder.parameters()).device
            generator = seeded_generator(device, mix("features", seed, batch[0].utterance_id))
        lengths = [len(clip.audio) for clip in batch]
        padded_BL = np.zeros((len(batch), max(lengths)), np.int16)
        for row_L, clip in zip(padded_BL, batch, strict=True):
            row_L[: len(clip.audio)] = clip.audio
        outputs = encoder.encode(padded_BL, lengths, generator=generator)
        for row, clip in enumerate(batch):
            features = {}
            for module in modules:
                latents_BTC, frames_B = outputs[module]
                features[module] = latents_BTC[row, : int(frames_B[row])].float().cpu().numpy()
            yield Encoded(clip, features)


def similar_lengths(ordered: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Batch utterances, which are ordered by length."""
    batch: list[Clip] = []
    for clip in ordered:
        length = len(clip.audio)
        full = length * (len(batch) + 1) > BATCH_SAMPLES
        if batch and (full or length > LENGTH_SPREAD * len(batch[0].audio)):
            yield batch
            batch = []
        batch.append(clip)
    if batch:
        yield batch


@torch.no_grad()
def _deviations(encoder: FrozenEncoder, clip: Clip, modules: Sequence[int]) -> dict[int, F32]:
    """Standard deviation [T, C] of the posterior of modules, for the means of those before."""
    weight = next(encoder.parameters())
    x = encoder.normalizer(torch.from_numpy(clip.audio)[None].to(weight.device))
    features = {}
    for module in range(max(modules) + 1):
        x, std_BTC = encoder.encoder.module(module).distribution(x.to(weight.dtype))
        if module in modules:
            assert std_BTC is not None
            features[module] = std_BTC[0].float().cpu().numpy()
    return features
