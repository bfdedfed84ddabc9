"""Audio files to int16 mono at 16 kHz, by libsndfile; what cannot be used is an `AudioProblem`."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from vgim.data.shards.manifest import SAMPLE_RATE_HZ, SkipKind

Pcm16 = npt.NDArray[np.int16]
PCM16_SCALE = 32_768
"""int16 / PCM16_SCALE is float PCM in [-1, 1)."""


class AudioProblem(Exception):  # noqa: N818 (not an error of the program: the file is skipped)
    """A file that cannot be used: `kind` is counted, `reason` is listed."""

    def __init__(self, kind: SkipKind, reason: str) -> None:
        super().__init__(reason)
        self.kind: SkipKind = kind
        self.reason = reason


@dataclass(frozen=True)
class DecodedAudio:
    """A decoded utterance."""

    samples: Pcm16
    """[num_samples], 16 kHz mono."""
    is_plain_flac: bool
    """Whether the file's own bytes are 16-bit FLAC of exactly these samples, so that they can be kept."""


def decode(data: bytes, *, resample: bool = False, mixdown: bool = False) -> DecodedAudio:
    """Decode a whole FLAC or WAV file.

    resample: convert other sample rates to 16 kHz; mixdown: average the channels. Raises AudioProblem.
    """
    if not data:
        raise AudioProblem("empty", "the file has no bytes")
    try:
        file = soundfile.SoundFile(stream := io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioProblem("corrupt", f"not readable as audio ({_short(error)})") from error
    with file:
        if file.frames == 0:
            raise AudioProblem("empty", "it holds no samples")
        if file.samplerate != SAMPLE_RATE_HZ and not resample:
            raise AudioProblem(
                "sample rate",
                f"sample rate {file.samplerate} Hz, expected {SAMPLE_RATE_HZ}; resample it or use --resample",
            )
        if file.channels != 1 and not mixdown:
            raise AudioProblem(
                "channels", f"{file.channels} channels, expected 1; mix it down or use --mixdown"
            )
        samples = _read_all(file, ends_early=lambda: stream.tell() >= len(data))
        plain = file.format == "FLAC" and file.subtype == "PCM_16" and file.channels == 1
        rate = file.samplerate
    if samples.ndim == 2:
        samples = np.rint(samples.mean(axis=1)).astype(np.int16)
    if rate != SAMPLE_RATE_HZ:
        samples = resample_pcm16(samples, rate)
    return DecodedAudio(samples, is_plain_flac=plain and rate == SAMPLE_RATE_HZ)


def _read_all(file: Any, ends_early: Callable[[], bool]) -> Pcm16:
    expected = file.frames
    try:
        if file.subtype in ("FLOAT", "DOUBLE"):  # libsndfile does not scale floats to the integer range
            floats = file.read(dtype="float32")
            samples = to_pcm16(floats)
        else:
            samples = np.asarray(file.read(dtype="int16"), dtype=np.int16)
    except (soundfile.SoundFileError, RuntimeError) as error:
        if ends_early():
            reason = f"the data ends before the {expected} samples that the header promises"
            raise AudioProblem("truncated", reason) from error
        raise AudioProblem("corrupt", f"decoding stopped with an error ({_short(error)})") from error
    if len(samples) != expected:
        raise AudioProblem("truncated", f"truncated: {len(samples)} of {expected} samples could be decoded")
    return samples


def to_pcm16(floats: npt.NDArray[np.float32]) -> Pcm16:
    """Round float PCM in [-1, 1] to int16, clipping what lies outside."""
    scaled = np.rint(floats * PCM16_SCALE)
    return np.clip(scaled, -PCM16_SCALE, PCM16_SCALE - 1).astype(np.int16)


def resample_pcm16(samples: Pcm16, rate_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> Pcm16:
    """Band-limited resampling (windowed sinc) of int16 mono."""
    import torch
    from torchaudio.functional import resample

    wave = torch.from_numpy(samples.astype(np.float32) / PCM16_SCALE)
    return to_pcm16(resample(wave, rate_hz, to_hz).numpy())


def encode_flac(samples: Pcm16, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """16-bit mono FLAC; the same samples give the same bytes."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _short(error: Exception) -> str:
    # libsndfile's own words, where there are any: str() also gives the address of the buffer that was read
    words = str(getattr(error, "error_string", error)).removeprefix("Error : ")
    return words.replace("\n", " ").strip().rstrip(".")[-80:]
