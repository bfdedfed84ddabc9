"""PCM audio to the encoder's input, and decoded audio back, on the device that holds the audio.

Shapes: B crops, L samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Normalize = Literal["none", "corpus", "utterance"]

PCM16_SCALE = 32_768.0
SMALLEST_STD = 1e-5
"""A standard deviation below this (a third of one PCM16 step) is silence, and nothing is divided by it."""


class Statistics(NamedTuple):
    """Mean and standard deviation of audio as float PCM in [-1, 1]."""

    mean: float | Tensor
    std: float | Tensor


@dataclass(frozen=True)
class Normalizer:
    """The normalization that an encoder was trained with (`data.normalize`), and its inverse."""

    mode: Normalize = "none"
    corpus: Statistics | None = None
    """Statistics of the training shards; `corpus` needs them, `utterance` only to invert audio of no utterance."""

    def __call__(self, audio_BL: Tensor, utterances: Statistics | None = None) -> Tensor:
        """Audio as the encoder's input, float32 [B, L].

        Args:
            audio_BL: int16 PCM, or float in [-1, 1].
            utterances: Statistics of the whole utterance of each crop, [B], for mode `utterance`; by default each
                row counts as a whole utterance. Other modes ignore them.

        Raises:
            ValueError: The audio has another dtype, or the statistics have another shape than [B].
        """
        x_BL = to_float(audio_BL)
        statistics = self._statistics(x_BL, utterances)
        return x_BL if statistics is None else normalize(x_BL, statistics)

    def invert(self, x_BL: Tensor, utterances: Statistics | None = None) -> Tensor:
        """Audio in [-1, 1] or a little beyond, from audio that is normalized.

        Args:
            x_BL: Normalized audio, such as a decoder's output.
            utterances: Statistics [B] of the utterances that the audio belongs to, for mode `utterance`; by default
                those of the corpus.

        Raises:
            ValueError: Statistics are needed and there are none.
        """
        if self.mode == "none":
            return x_BL
        statistics = self.corpus
        if self.mode == "utterance" and utterances is not None:
            _check_per_row(utterances, x_BL)
            statistics = utterances
        if statistics is None:
            raise ValueError(
                f"normalize={self.mode} has no corpus statistics to invert with; pass the utterances'"
            )
        mean, std = _columns(statistics, x_BL)
        return x_BL * std + mean

    def _statistics(self, x_BL: Tensor, utterances: Statistics | None) -> Statistics | None:
        if self.mode == "none":
            return None
        if self.mode == "utterance":
            if utterances is None:
                return measure(x_BL)
            _check_per_row(utterances, x_BL)
            return utterances
        if self.corpus is None:
            raise ValueError("normalize=corpus needs the mean and standard deviation of the training shards")
        return self.corpus


def to_float(audio_BL: Tensor) -> Tensor:
    """Audio as float32 in [-1, 1], of any shape.

    Args:
        audio_BL: int16 PCM, or float in [-1, 1].

    Raises:
        ValueError: The audio has another dtype.
    """
    if audio_BL.dtype == torch.int16:
        return audio_BL.float() / PCM16_SCALE
    if audio_BL.is_floating_point():
        return audio_BL.float()
    raise ValueError(f"audio is {audio_BL.dtype}; pass int16 PCM or float in [-1, 1]")


def normalize(x_BL: Tensor, statistics: Statistics) -> Tensor:
    """Audio less its mean, divided by its standard deviation; silence (below SMALLEST_STD) is not divided.

    Args:
        x_BL: Float audio.
        statistics: Two numbers for all rows, or [B] each.
    """
    mean, std = _columns(statistics, x_BL)
    return (x_BL - mean) / std


def measure(x_BL: Tensor) -> Statistics:
    """Mean and standard deviation (of the population) of each row of float audio, [B] each."""
    exact_BL = x_BL.double()
    return Statistics(exact_BL.mean(-1).to(x_BL.dtype), exact_BL.std(-1, correction=0).to(x_BL.dtype))


def _columns(statistics: Statistics, x_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation as tensors that broadcast over samples, with 1 for silence's deviation."""
    mean, std = (torch.as_tensor(value, dtype=x_BL.dtype, device=x_BL.device) for value in statistics)
    std = torch.where(std < SMALLEST_STD, torch.ones_like(std), std)
    return mean[..., None], std[..., None]


def _check_per_row(statistics: Statistics, x_BL: Tensor) -> None:
    shapes = [list(torch.as_tensor(value).shape) for value in statistics]
    if shapes != [list(x_BL.shape[:1])] * 2:
        raise ValueError(
            f"the utterances' mean and std have shapes {shapes[0]} and {shapes[1]}; "
            f"audio {list(x_BL.shape)} needs [{len(x_BL)}] each, one per row"
        )
