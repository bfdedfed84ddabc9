"""Where crops are cut: a pure function of (seed, epoch, utterance), the same whatever the number of ranks.

All functions are vectorized over utterances (U) and give crops (R) in utterance order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgim.config.schema import DataConfig

HOP_SAMPLES = 160  # 10 ms: crops start on the grid of the encoder's last frames and of the phone labels

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]


def utterance_keys(utterance_ids: Sequence[str]) -> U64:
    """A stable 64-bit key per utterance id, shape [U]."""
    digests = (hashlib.blake2b(u.encode(), digest_size=8).digest() for u in utterance_ids)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def mix(*parts: int | U64) -> U64:
    """Hash integers, scalars or arrays that broadcast, to uint64 (SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for part in parts:
            state = state + np.asarray(part, np.uint64) + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def usable(num_samples: I64, config: DataConfig) -> NDArray[np.bool_]:
    """Which utterances are long enough for one crop; `first` pads, so there all are."""
    if config.crop == "first":
        return num_samples > 0
    margin = HOP_SAMPLES if config.crop == "random" else 0
    return num_samples >= config.crop_samples + margin


def crop_starts(num_samples: I64, keys: U64, config: DataConfig, seed: int, epoch: int) -> tuple[I64, I64]:
    """Crops of one epoch as (utterance ordinal [R], start sample [R]), for utterances that are `usable`.

    random: one crop, its start a multiple of 160 samples, at least 160, inside the utterance.
    tile: as many whole crops as fit from a random phase, a multiple of 160 below one crop.
    first: one crop at 0.
    """
    length = config.crop_samples
    ordinals = np.arange(len(num_samples), dtype=np.int64)
    if config.crop == "first":
        return ordinals, np.zeros_like(ordinals)
    draw = mix(seed, epoch, keys)
    if config.crop == "random":
        choices = ((num_samples - length) // HOP_SAMPLES).astype(np.uint64)
        return ordinals, ((draw % choices).astype(np.int64) + 1) * HOP_SAMPLES
    last_phase = np.minimum(num_samples - length, length - HOP_SAMPLES) // HOP_SAMPLES
    phase = (draw % (last_phase + 1).astype(np.uint64)).astype(np.int64) * HOP_SAMPLES
    count = (num_samples - phase) // length
    owner = np.repeat(ordinals, count)
    nth = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    return owner, phase[owner] + nth * length
