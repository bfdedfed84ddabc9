"""Sources of frozen features: audio clips in batches in, features of each utterance at its true length out.

The features of an utterance are those that it has alone. A source that keeps them so in a padded batch gets clips of
similar length together; any other gets clips of one length, and whole utterances mostly come one at a time.

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
from vgim.downstream.output import Output
from vgim.model.audio import Normalizer, Statistics

CLIPS_AT_ONCE = 32

WINDOW_CLIPS = 64
"""Most clips among which similar lengths are looked for; their features are in memory together."""
WINDOW_VALUES = 2**26
"""Most values of the features of these clips, 256 MiB, unless one clip has more."""
SHORTEST_SHARE = 0.75
"""Length of the shortest clip of a padded batch over that of the longest."""

CutClip = Callable[[Utterance], "Pcm16 | None"]
"""Cuts from an utterance the audio to encode; None if the utterance is too short."""


class FeatureSpec(NamedTuple):
    """One kind of features that a source makes of audio."""

    module: int | None
    """Module of the encoder; None for several modules, or for features without an encoder."""
    hop_samples: int
    """Samples between two frames."""
    channels: int
    layer: int | None = None
    """Convolution of the module; None for the module's output."""
    concat: tuple[int, ...] = ()
    """Modules whose outputs are concatenated; empty for one output."""

    @property
    def output(self) -> Output:
        """What the features are read from."""
        return Output(self.module, self.layer, self.concat)

    def view(self) -> dict[str, object]:
        """The fields for a hash, which is the one of versions without `concat` where that is empty."""
        fields = self._asdict()
        return fields if self.concat else {name: fields[name] for name in fields if name != "concat"}


class ClipBatch(NamedTuple):
    """B clips on the host."""

    utterances: list[Utterance]
    """Utterance of each clip, [B]."""
    audio_BL: Tensor
    """int16 PCM, padded behind if `lengths` says so."""
    lengths: list[int] | None = None
    """Samples of each clip, [B]; None if none is padded."""

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

    @property
    def padded_samples(self) -> int:
        """Most samples of a batch of clips of several lengths, padding included; 0 if clips must have one length."""

    def num_frames(self, num_samples: int) -> list[int]:
        """Frames of a clip for each spec."""

    def identity(self) -> dict[str, object]:
        """Everything beside a spec and the audio that decides the features' values, for JSON."""

    def min_samples(self) -> int:
        """Length of the shortest clip that has a frame of every kind of features."""

    def __call__(self, clips: ClipBatch) -> list[Tensor]:
        """Features [B, T, C] for each spec, on the CPU; behind a padded clip's last frame they have no meaning."""


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
    for utterance, audio in _cut_clips(utterances, cut, min_samples):
        if batch and (len(batch) == size or len(batch[0][1]) != len(audio)):
            yield _stack(batch)
            batch = []
        batch.append((utterance, audio))
    if batch:
        yield _stack(batch)


def stream_features(
    source: FeatureSource, utterances: Iterable[Utterance], cut: CutClip
) -> Iterator[tuple[Utterance, list[Tensor]]]:
    """Encode utterances: each with its features [T, C] for every spec of the source, in the utterances' order."""
    if not source.padded_samples:
        for clips in batch_clips(utterances, cut, source.min_samples(), source.clips_at_once):
            features = source(clips)
            for index, utterance in enumerate(clips.utterances):
                yield utterance, [features_BTC[index] for features_BTC in features]
        return
    for window in _windows(source, _cut_clips(utterances, cut, source.min_samples())):
        encoded: dict[int, list[Tensor]] = {}
        for numbers in similar_lengths(
            [len(audio) for _, audio in window], source.padded_samples, source.clips_at_once
        ):
            clips = _pad([window[number] for number in numbers])
            features = source(clips)
            for index, number in enumerate(numbers):
                num_frames = source.num_frames(len(window[number][1]))
                of_clip = zip(features, num_frames, strict=True)
                encoded[number] = [features_BTC[index, :num] for features_BTC, num in of_clip]
        for number, (utterance, _) in enumerate(window):
            yield utterance, encoded.pop(number)


def similar_lengths(lengths: Sequence[int], max_samples: int, max_clips: int) -> list[list[int]]:
    """Group the numbers of clips so that the clips of a group have similar lengths.

    Args:
        lengths: Samples of each clip.
        max_samples: Most samples of a group that is padded to its longest clip; a longer clip is alone.
        max_clips: Most clips of a group.
    """
    groups: list[list[int]] = []
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        longest = lengths[groups[-1][0]] if groups else 0
        if (
            groups
            and len(groups[-1]) < max_clips
            and longest * (len(groups[-1]) + 1) <= max_samples
            and lengths[number] >= SHORTEST_SHARE * longest
        ):
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def _cut_clips(
    utterances: Iterable[Utterance], cut: CutClip, min_samples: int
) -> Iterator[tuple[Utterance, Pcm16]]:
    for utterance in utterances:
        audio = cut(utterance)
        if audio is not None and len(audio) >= min_samples:
            yield utterance, audio


def _windows(
    source: FeatureSource, clips: Iterable[tuple[Utterance, Pcm16]]
) -> Iterator[list[tuple[Utterance, Pcm16]]]:
    """Clips that follow each other, whose features fit into memory together."""
    window: list[tuple[Utterance, Pcm16]] = []
    num_values, specs = 0, source.specs
    for utterance, audio in clips:
        frames = zip(source.num_frames(len(audio)), specs, strict=True)
        added = sum(num * spec.channels for num, spec in frames)
        if window and (len(window) == WINDOW_CLIPS or num_values + added > WINDOW_VALUES):
            yield window
            window, num_values = [], 0
        window.append((utterance, audio))
        num_values += added
    if window:
        yield window


def _pad(batch: list[tuple[Utterance, Pcm16]]) -> ClipBatch:
    lengths = [len(audio) for _, audio in batch]
    if min(lengths) == max(lengths):
        return _stack(batch)
    padded = np.zeros((len(batch), max(lengths)), np.int16)
    for row, (_, audio) in zip(padded, batch, strict=True):
        row[: len(audio)] = audio
    return ClipBatch([u for u, _ in batch], torch.from_numpy(padded), lengths)


def _stack(batch: list[tuple[Utterance, Pcm16]]) -> ClipBatch:
    return ClipBatch([u for u, _ in batch], torch.from_numpy(np.stack([audio for _, audio in batch])))
