"""Choose crops: a pure function of (seed, epoch, utterance), independent of the number of ranks.

The functions are vectorized over utterances (U) and give crops (R) in utterance order.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vgim.arrays import I64, U64
from vgim.config.schema import DataConfig
from vgim.data.pcm import HOP_SAMPLES, Pcm16


def utterance_keys(utterance_ids: pa.ChunkedArray) -> U64:
    """A 64-bit hash of each utterance id, [U].

    Args:
        utterance_ids: Strings of Arrow.
    """
    blake2b = hashlib.blake2b
    digests = bytearray()
    for chunk in utterance_ids.cast(pa.binary()).chunks:
        for utterance_id in chunk.to_pylist():
            digests += blake2b(utterance_id, digest_size=8).digest()
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


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
    """Which utterances are long enough for one crop, [U]. `first` pads, so it can use every utterance with audio."""
    return num_samples >= fewest_samples(config)


def fewest_samples(config: DataConfig) -> int:
    """Samples that an utterance must have for one crop."""
    return 1 if config.crop == "first" else config.crop_samples + _earliest_start(config)


def crop_starts(num_samples: I64, keys: U64, config: DataConfig, seed: int, epoch: int) -> tuple[I64, I64]:
    """The crops of one epoch.

    random: One crop per utterance. Its start is a multiple of 160 samples, at least 160, and the crop ends inside
        the utterance.
    tile: As many whole crops as fit after a random phase, which is a multiple of 160 samples below one crop.
    first: One crop per utterance, at sample 0.

    Args:
        num_samples: Length of each utterance, [U]; all are `usable`.
        keys: `utterance_keys`, [U].
        config: Kind and length of the crops.
        seed: Seed of the data.
        epoch: Epoch from 0.

    Returns:
        Index of the utterance that each crop is cut from, [R], and the crop's first sample, [R].
    """
    length = config.crop_samples
    utterances = np.arange(len(num_samples), dtype=np.int64)
    if config.crop == "first":
        return utterances, np.zeros_like(utterances)
    if config.crop == "random":
        num_choices = ((num_samples - length) // HOP_SAMPLES).astype(np.uint64)
        starts = ((mix(seed, epoch, keys) % num_choices).astype(np.int64) + 1) * HOP_SAMPLES
        return utterances, starts
    phase = _tile_phase(num_samples, keys, config, seed, epoch)
    num_tiles = (num_samples - phase) // length
    owner = np.repeat(utterances, num_tiles)
    tile = np.arange(len(owner)) - np.repeat(np.cumsum(num_tiles) - num_tiles, num_tiles)
    return owner, phase[owner] + tile * length


def num_crops(num_samples: I64, keys: U64, config: DataConfig, seed: int, epoch: int) -> I64:
    """How many crops `crop_starts` cuts from each utterance, [U]."""
    if config.crop != "tile":
        return np.ones(len(num_samples), np.int64)
    return (num_samples - _tile_phase(num_samples, keys, config, seed, epoch)) // config.crop_samples


def _tile_phase(num_samples: I64, keys: U64, config: DataConfig, seed: int, epoch: int) -> I64:
    """First sample of each utterance's first tile, [U]."""
    length = config.crop_samples
    last_phase = np.minimum(num_samples - length, length - HOP_SAMPLES) // HOP_SAMPLES
    draw = mix(seed, epoch, keys) % (last_phase + 1).astype(np.uint64)
    return draw.astype(np.int64) * HOP_SAMPLES


def first_crop(audio: Pcm16, config: DataConfig) -> Pcm16 | None:
    """The earliest crop that training could cut from an utterance, [crop_samples]; None if it is too short.

    `random` crops start at 160 samples at the earliest, others at 0. `first` pads with zeros.
    """
    start = _earliest_start(config)
    crop = audio[start : start + config.crop_samples]
    if len(crop) == config.crop_samples:
        return crop
    return np.pad(crop, (0, config.crop_samples - len(crop))) if config.crop == "first" else None


def _earliest_start(config: DataConfig) -> int:
    return HOP_SAMPLES if config.crop == "random" else 0
