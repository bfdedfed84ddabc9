"""The two 1×1 heads that the public reference gives every module, and the family that they tell of.

In its sim, latents are drawn from both heads: μ and log σ². Its gim has both too, but there the latents are μ. No
gradient reaches the heads of log σ² of a gim, so that they stay as torch drew them: uniform in ±1/√C, weights and
biases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vgim.config.schema import Family

Tensors = dict[str, Tensor]

HEADS = ("mu.weight", "mu.bias", "var.weight", "var.bias")
"""Tensors of a module's heads; `var` is log σ²."""
MAX_KS = 3.3
"""√n times the KS distance of n uniform draws is larger once in a billion files: 2·exp(-2·3.3²) = 7e-10."""


class FamilyFound(NamedTuple):
    """What the heads of a file's greedy modules tell."""

    family: Family | None
    """None if they do not tell a sim from a gim."""
    reason: str
    """The end of a sentence that begins with "because"."""


def matrix(tensor: Tensor) -> Tensor:
    """A 1×1 convolution's weight as a matrix; any other tensor unchanged."""
    return tensor[..., 0] if tensor.ndim == 3 and tensor.shape[2] == 1 else tensor


def no_head(channels: int) -> Tensors:
    """Heads that leave the last convolution's output as it is: μ = h, log σ² = 0."""
    return {
        "mu.weight": torch.eye(channels),
        "mu.bias": torch.zeros(channels),
        "var.weight": torch.zeros(channels, channels),
        "var.bias": torch.zeros(channels),
    }


def has_effect(heads: Mapping[str, Tensor]) -> bool:
    """Whether latents differ from the last convolution's output: exported files have heads that are the identity."""
    if not heads:
        return False
    channels = max(len(tensor) for tensor in heads.values())
    if any(matrix(tensor).shape not in ((channels,), (channels, channels)) for tensor in heads.values()):
        return True
    nothing = no_head(channels)
    return heads.keys() != nothing.keys() or not all(
        matrix(tensor).shape == nothing[key].shape and bool((matrix(tensor) == nothing[key]).all())
        for key, tensor in heads.items()
    )


def family_of(heads_of_modules: Sequence[Mapping[str, Tensor]]) -> FamilyFound:
    """Tell a sim from a gim by the heads of the modules that have convolutions."""
    means = [heads[key] for heads in heads_of_modules for key in HEADS[:2] if key in heads]
    log_variances = [heads[key] for heads in heads_of_modules for key in HEADS[2:] if key in heads]
    if not any(has_effect(heads) for heads in heads_of_modules):
        return FamilyFound("gim", "its modules have no heads")
    if not any(bool(tensor.any()) for tensor in log_variances):
        return FamilyFound("gim", "it has heads of μ and none of log σ²")
    if not as_drawn(log_variances):
        return FamilyFound("sim", "training moved its heads of log σ²")
    if as_drawn(means):
        return FamilyFound(None, "its heads of μ and log σ² are both as they were drawn")
    return FamilyFound("gim", "training moved its heads of μ and left those of log σ² as they were drawn")


def as_drawn(heads: Sequence[Tensor]) -> bool:
    """Whether the weights and biases [C, ...] of heads look as torch draws them, uniform in ±1/√C.

    The first step of Adam moves every value by the learning rate, and some of them out of these bounds: of a head of
    512 channels, 0.2 % at a learning rate of 2e-4.
    """
    scaled = torch.cat([(tensor.double() * math.sqrt(len(tensor))).flatten() for tensor in heads])
    rounding = max(torch.finfo(tensor.dtype).eps for tensor in heads)
    if not bool((scaled.abs() <= 1 + rounding).all()):
        return False
    num = len(scaled)
    expected = (scaled.sort().values + 1) / 2
    rank = torch.arange(num, dtype=expected.dtype)
    distance = max(float((expected - rank / num).max()), float(((rank + 1) / num - expected).max()))
    return math.sqrt(num) * distance <= MAX_KS
