"""Sound files that tests send."""

from __future__ import annotations

import io

import numpy as np
import soundfile


def noise_file(
    seconds: float, rate: int = 16_000, channels: int = 1, seed: int = 0, kind: str = "WAV"
) -> bytes:
    """The bytes of a sound file of noise."""
    samples = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind)
    return out.getvalue()
