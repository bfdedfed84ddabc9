"""PCM16 to the encoder's input, on the device that holds the audio.

Shapes: B crops, L samples.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalize = Literal["none", "corpus", "utterance"]

PCM16_SCALE = 32_768.0
SMALLEST_STD = 1e-5
"""Deviations below this (a third of one PCM16 step) are silence, and are not divided by."""


def to_float(
    audio_BL: Tensor,
    mode: Normalize,
    mean: float | Tensor = 0.0,
    std: float | Tensor = 1.0,
) -> Tensor:
    """Audio as float32, normalized.

    Args:
        audio_BL: int16 PCM, or float in [-1, 1].
        mode: "none" leaves [-1, 1] and ignores mean and std; "corpus" takes the corpus's mean and deviation,
            two numbers; "utterance" takes one of each per crop, [B], those of the crop's whole utterance.
        mean: In units of [-1, 1].
        std: In units of [-1, 1]; a deviation of 0 (silence) counts as 1.

    Raises:
        ValueError: The audio is of another type, or mean and std do not fit the mode.
    """
    if audio_BL.dtype == torch.int16:
        x_BL = audio_BL.float() / PCM16_SCALE
    elif audio_BL.is_floating_point():
        x_BL = audio_BL.float()
    else:
        raise ValueError(f"audio is {audio_BL.dtype}; pass int16 PCM or float in [-1, 1]")
    if mode == "none":
        return x_BL
    per_crop = audio_BL.shape[:1] if mode == "utterance" else ()
    mean_B, std_B = (torch.as_tensor(v, dtype=x_BL.dtype, device=x_BL.device) for v in (mean, std))
    if mean_B.shape != per_crop or std_B.shape != per_crop:
        raise ValueError(
            f"normalize={mode} needs mean and std of shape {list(per_crop)}, "
            f"got {list(mean_B.shape)} and {list(std_B.shape)}"
        )
    std_B = torch.where(std_B < SMALLEST_STD, torch.ones_like(std_B), std_B)
    return (x_BL - mean_B[..., None]) / std_B[..., None]
