"""Frozen features of utterances, in batches, each with its true length.

An utterance is never padded: zeros after its end would be seen by the convolutions of its last frames. A batch
therefore holds clips of one length; whole utterances mostly go one at a time.

Shapes: B clips, L samples, T frames, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance
from vgim.model.audio import Normalizer, Statistics
from vgim.model.randomness import mix, seeded_generator
from vgim.model.stack import Encoder

CLIPS_AT_ONCE = 32

CutClip = Callable[[Utterance], Pcm16 | None]
"""What of an utterance is encoded; None leaves it out, as too short."""


class View(NamedTuple):
    """One representation that a source gives of the same audio."""

    module: int | None
    """The encoder's module; None for features of no encoder."""
    hop_samples: int
    """Samples between two frames."""
    channels: int
    layer: int | None = None
    """The module's convolution; None for its output."""


class Reading(NamedTuple):
    """Where in an encoder features are read."""

    module: int
    """Counted from the input."""
    layer: int | None = None
    """One of the module's convolutions, from 0, after BatchNorm and ReLU; None for the module's output."""


class Clips(NamedTuple):
    """B clips of one length, on the host."""

    utterances: list[Utterance]
    """Utterance of each clip, [B]."""
    audio_BL: Tensor
    """int16 PCM."""

    def normalized(self, normalizer: Normalizer, device: torch.device | str) -> Tensor:
        """The clips as an encoder's input, float32 [B, L] on the device."""
        return normalizer(self.audio_BL.to(device), statistics_of(self.utterances))


class FeatureSource(Protocol):
    """Makes features of audio; frozen."""

    @property
    def views(self) -> tuple[View, ...]:
        """What it gives of each clip."""

    @property
    def clips_at_once(self) -> int:
        """Clips of one length that it takes together."""

    def identity(self) -> dict[str, object]:
        """What decides its numbers, beside the view and the audio; JSON takes it."""

    def min_samples(self) -> int:
        """Shortest clip that gives every view a frame."""

    def __call__(self, clips: Clips) -> list[Tensor]:
        """Features [B, T, C] of each view, on the CPU."""


@dataclass(frozen=True)
class EncoderFeatures:
    """Parts of an encoder in evaluation mode: of a module μ or z, or the context of its GRU; or a convolution."""

    encoder: Encoder
    normalizer: Normalizer
    """Normalization of the encoder's training."""
    readings: tuple[Reading, ...]
    """Where features are read, in the order of depth."""
    sample_seed: int | None = None
    """Seed of posterior samples in every module; None takes μ."""

    @property
    def views(self) -> tuple[View, ...]:
        encoder = self.encoder
        return tuple(
            View(at.module, encoder.hop_samples(*at), encoder.channels(*at), at.layer) for at in self.readings
        )

    @property
    def clips_at_once(self) -> int:
        return CLIPS_AT_ONCE if self.sample_seed is None else 1  # an utterance's draws are its own

    def identity(self) -> dict[str, object]:
        return {
            "weights": self._weights_sha256,
            "normalize": self.normalizer.mode,
            "corpus": self.normalizer.corpus if self.normalizer.mode == "corpus" else (0.0, 1.0),
            "sample_seed": self.sample_seed,
        }

    @cached_property
    def _weights_sha256(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def min_samples(self) -> int:
        return max(self.encoder.min_samples(*at) for at in self.readings)

    @torch.no_grad()
    def __call__(self, clips: Clips) -> list[Tensor]:
        device = next(self.encoder.parameters()).device
        x = clips.normalized(self.normalizer, device)
        generator = None
        if self.sample_seed is not None:
            seed = mix("probe sample", self.sample_seed, clips.utterances[0].utterance_id)
            generator = seeded_generator(device, seed)
        found = []
        deepest = self.readings[-1]
        for index in range(deepest.module + 1):
            module = self.encoder.module(index)
            if self.readings == (deepest,) and index == deepest.module and deepest.layer is not None:
                return [module.layer(x, deepest.layer).cpu()]  # what follows it is not needed
            layers = [at.layer for at in self.readings if at.module == index and at.layer is not None]
            inner, x = module.layers_and_output(x, layers, generator)
            found += [layer.cpu() for layer in inner]
            if Reading(index) in self.readings:
                found.append(x.cpu())
        return found


def statistics_of(utterances: Sequence[Utterance]) -> Statistics:
    """Mean and standard deviation of whole utterances, [B] each."""
    mean_B, std_B = torch.tensor([(u.mean, u.std) for u in utterances]).T
    return Statistics(mean_B, std_B)


def batch_clips(
    utterances: Iterable[Utterance], clip: CutClip, min_samples: int, size: int
) -> Iterator[Clips]:
    """Clips of one length together, at most `size`, in the utterances' order; those too short are left out."""
    held: list[tuple[Utterance, Pcm16]] = []
    for utterance in utterances:
        audio = clip(utterance)
        if audio is None or len(audio) < min_samples:
            continue
        if held and (len(held) == size or len(held[0][1]) != len(audio)):
            yield _clips(held)
            held = []
        held.append((utterance, audio))
    if held:
        yield _clips(held)


def stream_features(
    source: FeatureSource, utterances: Iterable[Utterance], clip: CutClip
) -> Iterator[tuple[Utterance, list[Tensor]]]:
    """Each utterance with its features [T, C] of every view, T its true number of frames."""
    for clips in batch_clips(utterances, clip, source.min_samples(), source.clips_at_once):
        of_views = source(clips)
        for i, utterance in enumerate(clips.utterances):
            yield utterance, [features_BTC[i] for features_BTC in of_views]


def _clips(held: list[tuple[Utterance, Pcm16]]) -> Clips:
    return Clips([u for u, _ in held], torch.from_numpy(np.stack([audio for _, audio in held])))
