"""Audio as users pass it to an encoder, with lengths and indices: several types, shapes and dtypes, checked.

Shapes: B utterances, L samples.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor

EXPECTED = "16 kHz mono audio, int16 PCM or float in [-1, 1], of shape [B, L], [B, 1, L] or [L]"
MAX_CHANNELS = 2
"""More rows than this of so few samples are no utterances but channels, as sound files are read by soundfile."""
LOUDEST = 32.0
"""Float audio beyond this is PCM that was not scaled: full scale is 1, and effects overshoot it by little."""


def as_batch(audio: Any) -> Tensor:
    """The audio as a tensor [B, L], int16 or floating point.

    Args:
        audio: A tensor or a NumPy array of shape [B, L], [B, 1, L] or [L].

    Raises:
        TypeError: It is neither a tensor nor an array.
        ValueError: Its dtype, shape or range is another; the message says which came and what is expected.
    """
    if isinstance(audio, np.ndarray):
        if audio.dtype.kind not in "iuf" or audio.dtype.itemsize > 8:
            raise ValueError(f"the audio has dtype {audio.dtype}; expected {EXPECTED}")
        audio = torch.from_numpy(audio.astype(audio.dtype.newbyteorder("="), order="C"))
    if not isinstance(audio, Tensor):
        raise TypeError(
            f"the audio is a {type(audio).__name__}; expected a tensor or a NumPy array of {EXPECTED}"
        )
    if audio.layout != torch.strided or audio.is_nested or audio.is_meta:
        raise ValueError(
            f"the audio is a sparse, nested or meta tensor, not a dense one; expected {EXPECTED}"
        )
    if audio.dtype != torch.int16 and not (
        audio.is_floating_point() and audio.dtype.itemsize > 1
    ):  # no float8
        raise ValueError(
            f"the audio has dtype {str(audio.dtype).removeprefix('torch.')}; expected {EXPECTED}"
        )
    batch_BL = _two_dimensions(audio)
    if not batch_BL.numel():
        raise ValueError(f"the audio has shape {list(audio.shape)} and no samples; expected {EXPECTED}")
    if batch_BL.is_floating_point():
        loudest = float(batch_BL.abs().amax())
        if not math.isfinite(loudest):
            raise ValueError(f"the float audio reaches {loudest:g}; expected {EXPECTED}")
        if loudest > LOUDEST:
            raise ValueError(
                f"the float audio reaches {loudest:g}; expected {EXPECTED} (divide int16 PCM by 32768)"
            )
    return batch_BL


def _two_dimensions(audio: Tensor) -> Tensor:
    if audio.ndim == 1:
        return audio[None]
    if audio.ndim == 3 and audio.shape[1] == 1:
        return audio[:, 0]
    if audio.ndim == 2 and audio.shape[1] <= MAX_CHANNELS < audio.shape[0]:
        raise ValueError(
            f"the audio has shape {list(audio.shape)}, which looks like [samples, channels]; expected {EXPECTED} "
            "(average the channels: audio.mean(1))"
        )
    if audio.ndim != 2:
        raise ValueError(f"the audio has shape {list(audio.shape)}; expected {EXPECTED}")
    return audio


def as_lengths(lengths: Any, name: str) -> Tensor:
    """Whole numbers as an int64 tensor of the same shape.

    Args:
        lengths: A number, a list, an array or a tensor.
        name: The argument, for errors.

    Raises:
        TypeError: They are no whole numbers.
    """
    try:
        whole = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError):
        whole = torch.tensor(0.5)
    if whole.is_floating_point() or whole.is_complex() or whole.dtype == torch.bool:
        raise TypeError(
            f"{name} are a {type(lengths).__name__} without whole numbers; give numbers of samples"
        )
    return whole.long()


def as_module(index: Any, name: str) -> int:
    """The index of a module or layer.

    Raises:
        TypeError: It is no whole number.
    """
    try:
        return operator.index(index)
    except TypeError:
        raise TypeError(
            f"{name}={index!r} is of the type {type(index).__name__}; give a whole number, negative from the last"
        ) from None
