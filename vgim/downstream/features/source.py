"""Sources of frozen features: audio clips in batches in, features of each utterance at its true length out.

An utterance is never padded, because the convolutions of its last frames would see zeros after its end. A batch
therefore holds clips of one length; whole utterances mostly come one at a time.

Shapes: B clips, L samples, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance
from vgim.model.audio import Normalizer, Statistics

CLIPS_AT_ONCE = 32

CutClip = Callable[[Utterance], Pcm16 | None]
"""Cuts from an utterance the audio to encode; None if the utterance is too short."""


class FeatureSpec(NamedTuple):
    """One kind of features that a source makes of audio."""

    module: int | None
    """Module of the encoder; None for features without an encoder."""
    hop_samples: int
    """Samples between two frames."""
    channels: int
    layer: int | None = None
    """Convolution of the module; None for the module's output."""


class ClipBatch(NamedTuple):
    """B clips of one length, on the host."""

    utterances: list[Utterance]
    """Utterance of each clip, [B]."""
    audio_BL: Tensor
    """int16 PCM."""

    def normalized(self, normalizer: Normalizer, device: torch.device | str) -> Tensor:
        """The clips as an encoder's input, float32 [B, L] on the device."""
        return normalizer(self.audio_BL.to(device), statistics_of(self.utterances))


class FeatureSource(Protocol):
    """Makes frozen features of audio."""

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        """The kinds of features that a call returns, in order."""

    @property
    def clips_at_once(self) -> int:
        """Largest batch of clips."""

    def identity(self) -> dict[str, object]:
        """Everything beside a spec and the audio that decides the features' values, for JSON."""

    def min_samples(self) -> int:
        """Length of the shortest clip that has a frame of every kind of features."""

    def __call__(self, clips: ClipBatch) -> list[Tensor]:
        """Features [B, T, C] for each spec, on the CPU."""


def whole_utterance(utterance: Utterance) -> Pcm16:
    """The `CutClip` that keeps the whole utterance."""
    return utterance.audio


def statistics_of(utterances: Sequence[Utterance]) -> Statistics:
    """Mean and standard deviation of whole utterances, [B] each."""
    mean_B, std_B = torch.tensor([(u.mean, u.std) for u in utterances]).T
    return Statistics(mean_B, std_B)


def batch_clips(
    utterances: Iterable[Utterance], cut: CutClip, min_samples: int, size: int
) -> Iterator[ClipBatch]:
    """Batch clips that follow each other and have one length, at most `size`, in the utterances' order.

    Args:
        cut: Cuts a clip from each utterance.
        min_samples: Shorter clips are left out.
    """
    batch: list[tuple[Utterance, Pcm16]] = []
    for utterance in utterances:
        audio = cut(utterance)
        if audio is None or len(audio) < min_samples:
            continue
        if batch and (len(batch) == size or len(batch[0][1]) != len(audio)):
            yield _stack(batch)
            batch = []
        batch.append((utterance, audio))
    if batch:
        yield _stack(batch)


def stream_features(
    source: FeatureSource, utterances: Iterable[Utterance], cut: CutClip
) -> Iterator[tuple[Utterance, list[Tensor]]]:
    """Encode utterances one after the other: each with its features [T, C] for every spec of the source."""
    for clips in batch_clips(utterances, cut, source.min_samples(), source.clips_at_once):
        features = source(clips)
        for index, utterance in enumerate(clips.utterances):
            yield utterance, [features_BTC[index] for features_BTC in features]


def _stack(batch: list[tuple[Utterance, Pcm16]]) -> ClipBatch:
    return ClipBatch([u for u, _ in batch], torch.from_numpy(np.stack([audio for _, audio in batch])))
