"""Spectrograms as 8-bit gray images, for TensorBoard.

Shapes: L samples, F frequencies, T frames, H height, W width.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NUM_POINTS, HOP = 512, 64
"""Window and hop of the STFT, in samples."""
RANGE_DB = 80.0
"""Range of levels from white to black."""
GAP = 4
"""Rows of pixels between two spectrograms."""

ImageArray = NDArray[np.uint8]


def spectrogram(audio_L: Tensor, loudest: float | None = None) -> ImageArray:
    """A spectrogram [H, W, 1] with low frequencies at the bottom and loud points dark.

    Args:
        loudest: Level in dB that is black, 80 dB above white; None for the level of the loudest point.
    """
    decibels_FT = _decibels(audio_L)
    top = float(decibels_FT.max()) if loudest is None else loudest
    shade_FT = ((decibels_FT - top) / RANGE_DB + 1).clamp(0, 1)
    return (255 * (1 - shade_FT)).flip(0).byte().cpu().numpy()[..., None]


def spectrogram_pair(original_L: Tensor, reconstruction_L: Tensor) -> ImageArray:
    """The spectrogram of the original above its reconstruction's, both on the original's scale of gray."""
    top = float(_decibels(original_L).max())
    above, below = spectrogram(original_L, top), spectrogram(reconstruction_L, top)
    return np.concatenate([above, np.zeros((GAP, above.shape[1], 1), np.uint8), below])


def _decibels(audio_L: Tensor) -> Tensor:
    """Levels of the STFT in dB, [F, T]."""
    window = torch.hann_window(NUM_POINTS, device=audio_L.device)
    spectrum_FT = torch.stft(
        audio_L.float(), NUM_POINTS, HOP, window=window, pad_mode="constant", return_complex=True
    )
    return 20 * spectrum_FT.abs().clamp_min(1e-7).log10()
