"""Augment training crops where they are cut: a pure function of (seed, epoch, utterance, first sample).

A crop's change depends on neither its rank, its batch nor its read task, so that any reader, world size and
continuation computes the same samples. Each kind draws from a generator of its own: turning on another kind changes no
draw of the first. NumPy computes it, since read tasks do without torch.

Shapes: R crops of a task, L samples of a crop.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import F32, I64, U64
from vgim.config.augment_section import AugmentConfig
from vgim.data.pcm import PCM16_SCALE, SAMPLE_RATE_HZ, Pcm16
from vgim.data.stream.crops import mix

AUGMENT = 0x6175676D656E74  # keeps these random numbers apart from those of crops and order
PITCH, REVERB, BAND_REJECT, NOISE, GAIN, MASK = range(6)  # numbers of the kinds' generators; never reused
SNR_RANGE_DB = 20.0
MOST_GAIN = 10.0
"""Largest factor by which a changed crop is brought back to its level: what a stop band leaves of a tone is noise."""
DECAY_TO_60_DB = 3 * np.log(10)
"""Nepers in 60 dB of amplitude."""
EVEN_REVERB_S = 0.5
"""Reverberation time at which a room's echoes are as loud as the direct sound; their energy grows with the time."""


def crop_draws(seed: int, epoch: int, keys: U64, starts: I64) -> U64:
    """Seeds of the crops' changes, [R].

    Args:
        seed: Seed of the data.
        epoch: Epoch from 0.
        keys: `utterance_keys` of the crops' utterances, [R].
        starts: First sample of each crop, [R].
    """
    return mix(seed, epoch, AUGMENT, keys, starts.astype(np.uint64))


def samples_to_read(num_samples: int, config: AugmentConfig) -> int:
    """Samples of an utterance that a crop of `num_samples` may need: more than the crop if its pitch is raised."""
    return int(np.ceil(num_samples * _most_speed(config)))


def augment_crops(
    read_RL: Pcm16, available_R: I64, draws_R: U64, num_samples: int, config: AugmentConfig
) -> Pcm16:
    """Change each crop: int16 [R, num_samples].

    Args:
        read_RL: `samples_to_read` samples from each crop's first on, padded with zeros behind the utterance.
        available_R: Samples from each crop's first to the utterance's last.
        draws_R: `crop_draws`.
        num_samples: Samples in a crop.
        config: The kinds and their strengths.
    """
    crops = np.empty((len(read_RL), num_samples), np.int16)
    for crop, read, available, draw in zip(
        crops, read_RL, available_R.tolist(), draws_R.tolist(), strict=True
    ):
        samples = augment(read.astype(np.float32), available, draw, num_samples, config)
        crop[:] = np.clip(np.rint(samples), -PCM16_SCALE, PCM16_SCALE - 1)
    return crops


def augment(read: F32, available: int, draw: int, num_samples: int, config: AugmentConfig) -> F32:
    """Change one crop, [num_samples]: pitch, reverberation, stop band, noise, gain, mask, in this order.

    All but gain and mask keep the crop's root mean square, if at most a factor of MOST_GAIN is missing.
    """

    def generator(kind: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=np.array([draw, kind], np.uint64)))

    x = read[:num_samples]
    power = _power(x)
    if config.pitch_semitones:
        x = _change_pitch(read, available, num_samples, config, generator(PITCH))
    if config.reverb_s:
        x = _reverberate(x, config.reverb_s, generator(REVERB))
    if config.band_reject:
        x = _reject_band(x, config.band_reject, generator(BAND_REJECT))
    if config.noise_snr_db != "none":
        x = _add_noise(x, config.noise_snr_db, generator(NOISE))
    if changed := _power(x):
        x = x * np.float32(min(np.sqrt(power / changed), MOST_GAIN))
    if config.gain_db:
        x = x * np.float32(10 ** (generator(GAIN).uniform(-config.gain_db, config.gain_db) / 20))
    if config.mask_s:
        x = _mask(x, config.mask_s, generator(MASK))
    return x


def _most_speed(config: AugmentConfig) -> float:
    return float(2 ** (config.pitch_semitones / 12))


def _change_pitch(
    read: F32, available: int, num_samples: int, config: AugmentConfig, generator: np.random.Generator
) -> F32:
    """Play samples faster or slower, as far as the utterance reaches, by cutting or padding their spectrum."""
    slowest, fastest = 1 / _most_speed(config), _most_speed(config)
    # A crop that is padded anyhow may be played faster than its utterance reaches.
    if available >= num_samples:
        fastest = min(fastest, available / num_samples)
    num_out = fast_length(num_samples)
    choices = _fast_lengths_between(num_out * slowest, num_out * fastest)
    num_in = choices[generator.integers(len(choices))]
    spectrum = np.fft.rfft(read[:num_in], num_in)
    return _samples(spectrum, num_out, num_samples) * np.float32(num_out / num_in)


def _reverberate(x: F32, longest_s: float, generator: np.random.Generator) -> F32:
    """Convolve with a room's impulse response: the direct sound, and noise that decays exponentially behind it."""
    reverb_s = longest_s * generator.uniform()
    num_tail = min(int(reverb_s * SAMPLE_RATE_HZ), len(x) - 1)
    if num_tail < 1:
        return x
    time_s = np.arange(1, num_tail + 1, dtype=np.float32) / np.float32(SAMPLE_RATE_HZ)
    loudness = np.sqrt(2 * DECAY_TO_60_DB / (EVEN_REVERB_S * SAMPLE_RATE_HZ))
    decay = np.float32(loudness) * np.exp(time_s * np.float32(-DECAY_TO_60_DB / reverb_s))
    tail = generator.standard_normal(num_tail, dtype=np.float32) * decay
    response = np.concatenate([np.ones(1, np.float32), tail])
    size = fast_length(len(x) + num_tail)
    return _samples(np.fft.rfft(x, size) * np.fft.rfft(response, size), size, len(x))


def _reject_band(x: F32, widest: float, generator: np.random.Generator) -> F32:
    """Take one band out of the spectrum; width and place are uniform on the mel scale."""
    width = widest * generator.uniform()
    low = (1 - width) * generator.uniform()
    size = fast_length(len(x))
    first, end = (round(_share_of_mel(share) * size / SAMPLE_RATE_HZ) for share in (low, low + width))
    spectrum = np.fft.rfft(x, size)
    spectrum[first:end] = 0
    return _samples(spectrum, size, len(x))


def _share_of_mel(share: float) -> float:
    """Frequency in Hz at a share of the mel scale from 0 to half the sampling rate (O'Shaughnessy 1987)."""
    return float(700 * ((1 + SAMPLE_RATE_HZ / 2 / 700) ** share - 1))


def _add_noise(x: F32, lowest_snr_db: float, generator: np.random.Generator) -> F32:
    """Add white or pink noise, whose power is relative to the crop's."""
    snr_db = lowest_snr_db + SNR_RANGE_DB * generator.uniform()
    is_pink = generator.uniform() < 0.5
    noise = generator.standard_normal(len(x), dtype=np.float32)
    if is_pink:
        size = fast_length(len(x))
        spectrum = np.fft.rfft(noise, size)
        spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum), dtype=np.float32))
        spectrum[0] = 0
        noise = _samples(spectrum, size, len(x))
    return x + noise * np.float32(np.sqrt(_power(x) / _power(noise)) * 10 ** (-snr_db / 20))


def _mask(x: F32, longest_s: float, generator: np.random.Generator) -> F32:
    """Silence one stretch."""
    num_silent = min(int(longest_s * SAMPLE_RATE_HZ * generator.uniform()), len(x))
    first = int(generator.integers(len(x) - num_silent, endpoint=True))
    masked = x.copy()
    masked[first : first + num_silent] = 0
    return masked


def _samples(spectrum: NDArray[np.complexfloating], size: int, num_samples: int) -> F32:
    """The first samples of a signal that has `size` of them, from its spectrum."""
    return np.fft.irfft(spectrum, size)[:num_samples].astype(np.float32, copy=False)


def _power(x: F32) -> float:
    return float(np.mean(np.square(x), dtype=np.float64))


@lru_cache(maxsize=1)
def _fast_lengths() -> list[int]:
    """Even lengths without a prime factor above 7, whose FFT is fast, up to two hours of audio."""
    longest = 2 * 3600 * SAMPLE_RATE_HZ
    lengths = [2]
    for factor in (2, 3, 5, 7):
        for length in lengths:  # which grows meanwhile
            if length * factor <= longest:
                lengths.append(length * factor)
    return sorted(lengths)


def fast_length(num_samples: int) -> int:
    """The smallest length of a fast FFT that holds `num_samples`."""
    return _fast_lengths()[bisect_left(_fast_lengths(), num_samples)]


def _fast_lengths_between(fewest: float, most: float) -> list[int]:
    lengths = _fast_lengths()
    return lengths[bisect_left(lengths, fewest) : bisect_right(lengths, most)]
