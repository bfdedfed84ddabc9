"""Latents as users pass them to a decoder: tensors or NumPy arrays, checked.

Shapes: B utterances, T frames, C channels.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_latents(latents: Any, num_channels: int) -> Tensor:
    """The latents as a floating-point tensor [B, T, C]. A tensor keeps its graph.

    Args:
        latents: A tensor or a NumPy array of shape [B, T, C], or [T, C] for a batch of one.
        num_channels: C of the decoder.

    Raises:
        TypeError: It is neither a tensor nor an array.
        ValueError: Its dtype or shape is another, or values are not finite; the message says what came and what is
            expected.
    """
    expected = f"floating-point latents of shape [B, T, {num_channels}] or [T, {num_channels}]"
    if isinstance(latents, np.ndarray):
        if latents.dtype.kind != "f" or latents.dtype.itemsize > 8:
            raise ValueError(f"the latents have dtype {latents.dtype}; expected {expected}")
        latents = torch.from_numpy(latents.astype(latents.dtype.newbyteorder("="), order="C"))
    if not isinstance(latents, Tensor):
        raise TypeError(
            f"the latents are a {type(latents).__name__}; expected a tensor or a NumPy array of {expected}"
        )
    if latents.layout != torch.strided or latents.is_nested or latents.is_meta:
        raise ValueError(
            f"the latents are a sparse, nested or meta tensor, not a dense one; expected {expected}"
        )
    if not latents.is_floating_point():
        raise ValueError(
            f"the latents have dtype {str(latents.dtype).removeprefix('torch.')}; expected {expected}"
        )
    if latents.ndim not in (2, 3) or latents.shape[-1] != num_channels:
        raise ValueError(f"the latents have shape {list(latents.shape)}; expected {expected}")
    if not latents.numel():
        raise ValueError(f"the latents have shape {list(latents.shape)} and no frames; expected {expected}")
    if not bool(latents.detach().float().isfinite().all()):
        raise ValueError(f"the latents have values that are not finite numbers; expected {expected}")
    return latents if latents.ndim == 3 else latents[None]


def as_num_samples(num_samples: Any) -> int | None:
    """A number of samples, or None.

    Raises:
        TypeError: It is no whole number.
    """
    try:
        return None if num_samples is None else operator.index(num_samples)
    except TypeError:
        raise TypeError(
            f"num_samples={num_samples!r} is of the type {type(num_samples).__name__}; give a whole number"
        ) from None
