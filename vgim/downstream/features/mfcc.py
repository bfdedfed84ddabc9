"""Mel-frequency cepstral coefficients: the features that an encoder has to beat.

Shapes: B clips, L samples, T frames, C coefficients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ
from vgim.downstream.features.source import CLIPS_AT_ONCE, ClipBatch, FeatureSpec
from vgim.extras import import_torchaudio
from vgim.model.audio import to_float

NUM_MFCC, NUM_MELS = 13, 40
WINDOW_SAMPLES = 400
"""25 ms at 16 kHz."""


@dataclass(frozen=True)
class Mfcc:
    """The feature source of 13 MFCCs with first and second differences, one frame for each 10 ms (torchaudio).

    Frame t is centered on the middle of the t-th 10 ms, as a phone label is, and there are as many frames as whole
    10 ms. The logarithm has a fixed floor, so that a clip's features do not depend on its batch.
    """

    specs: tuple[FeatureSpec, ...] = (FeatureSpec(None, HOP_SAMPLES, 3 * NUM_MFCC),)
    clips_at_once: int = CLIPS_AT_ONCE
    padded_samples: int = 0

    @cached_property
    def _transforms(self) -> tuple[Any, Any]:
        transforms = import_torchaudio("transforms")
        mel = {
            "n_fft": WINDOW_SAMPLES,
            "win_length": WINDOW_SAMPLES,
            "hop_length": HOP_SAMPLES,
            "n_mels": NUM_MELS,
            "center": False,
        }
        mfcc = transforms.MFCC(SAMPLE_RATE_HZ, NUM_MFCC, log_mels=True, melkwargs=mel)
        return mfcc, transforms.ComputeDeltas()

    def identity(self) -> dict[str, object]:
        return {"mfcc": [NUM_MFCC, NUM_MELS, WINDOW_SAMPLES]}

    def min_samples(self) -> int:
        return HOP_SAMPLES

    def num_frames(self, num_samples: int) -> list[int]:
        return [num_samples // HOP_SAMPLES]

    def __call__(self, clips: ClipBatch) -> list[Tensor]:
        """MFCCs and differences, [B, L // 160, 39]."""
        mfcc, deltas = self._transforms
        margin = (WINDOW_SAMPLES - HOP_SAMPLES) // 2
        x_BCT = mfcc(F.pad(to_float(clips.audio_BL), (margin, margin)))
        first_BCT = deltas(x_BCT)
        return [torch.cat([x_BCT, first_BCT, deltas(first_BCT)], 1).mT]
