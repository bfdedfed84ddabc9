"""Seeds of random draws, which depend on the run, module, step and rank, never on the process's global generators.

Every module has a fresh generator at every step, seeded from (seed, module, step, rank, micro-batch,
purpose). So a module draws the same numbers at any depth of the model, in any process, and after any
interruption: a resumed run needs no generator state.
"""

from __future__ import annotations

import zlib
from typing import NamedTuple

import torch

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class DrawKey(NamedTuple):
    """All that the draws of a pass depend on, besides the module."""

    seed: int
    """The run's seed (`train.seed`)."""
    step: int
    """Optimizer step, counted from 0 over the whole run."""
    rank: int = 0
    """Data-parallel rank."""
    micro_batch: int = 0
    """Forward pass within the step (gradient accumulation), or the batch of a validation."""
    purpose: str = "train"
    """Use of the draws, such as "train" or "validation", so that they differ where all else is the same."""


def splitmix64(value: int) -> int:
    """One output of SplitMix64 for the state `value`: a bijection on 64-bit integers (Steele et al. 2014)."""
    value = (value + _GOLDEN) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def mix(*parts: int | str) -> int:
    """A 64-bit hash of the parts in order; strings enter by their CRC-32, the same in every process."""
    state = len(parts)
    for part in parts:
        number = zlib.crc32(part.encode()) if isinstance(part, str) else part
        state = splitmix64(state ^ (number & _MASK))
    return state


def draw_seed(key: DrawKey, module: int) -> int:
    """The 64-bit seed of `module`'s draws under `key`."""
    return mix(key.purpose, key.seed, module, key.step, key.rank, key.micro_batch)


def seeded_generator(device: torch.device | str, seed: int) -> torch.Generator:
    """A new generator on `device` with this seed.

    On a CPU torch keeps only the low 32 bits of a seed, so that the hash must be good in all of its bits.
    """
    made = torch.Generator(device=device)
    made.manual_seed(seed)
    return made
