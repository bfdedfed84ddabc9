"""Spectrograms of sounds as small PNGs of black ink on nothing, which a page can turn white.

numpy is imported when a sound is drawn: most pages have none.

Shapes: L samples, T frames, F frequencies, R rows of the picture.
"""

from __future__ import annotations

import io
import struct
import wave
import zlib

from vgim.arrays import F64

WINDOW = 512
"""Samples of a window; its lower half of frequencies is averaged to ROWS rows."""
HOP = 128
MOST_FRAMES = 480
"""Columns of the picture; of a longer sound, windows are farther apart."""
ROWS = 64
RANGE_DB = 70.0
"""Range of levels from no ink to full ink."""
SHADES = 16


def read_pcm16(data: bytes) -> F64 | None:
    """The samples of a mono WAV file with 16 bits, [L] in [-1, 1]; None for another kind."""
    import numpy as np

    with wave.open(io.BytesIO(data)) as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2:
            return None
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32768


def levels(audio_L: F64) -> F64:
    """Power in dB, the highest frequencies in the first row, [R, T]."""
    import numpy as np

    hop = max(HOP, -(-len(audio_L) // MOST_FRAMES))
    padded_L = np.pad(audio_L, WINDOW // 2)
    frames_TW = np.lib.stride_tricks.sliding_window_view(padded_L, WINDOW)[::hop][:MOST_FRAMES]
    power_TF = np.abs(np.fft.rfft(frames_TW * np.hanning(WINDOW), axis=1)[:, : WINDOW // 2]) ** 2
    power_RT = power_TF.reshape(len(power_TF), ROWS, -1).mean(2).T[::-1]
    decibels_RT: F64 = 10 * np.log10(np.maximum(power_RT, 1e-10))
    return decibels_RT


def draw(decibels_RT: F64, loudest_db: float) -> bytes:
    """A PNG of 4 bits a pixel, whose shades are opacities of black.

    Args:
        loudest_db: The level of full ink; RANGE_DB below it there is none.
    """
    import numpy as np

    share_RT = np.clip((decibels_RT - loudest_db) / RANGE_DB + 1, 0, 1)
    shade_RT = np.rint(share_RT * (SHADES - 1)).astype(np.uint8)
    height, width = shade_RT.shape
    if width % 2:
        shade_RT = np.pad(shade_RT, ((0, 0), (0, 1)))
    packed = 16 * shade_RT[:, ::2] + shade_RT[:, 1::2]
    rows = np.pad(packed, ((0, 0), (1, 0))).tobytes()  # each row starts with filter 0
    alphas = bytes(round(255 * shade / (SHADES - 1)) for shade in range(SHADES))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 4, 3, 0, 0, 0)),
        (b"PLTE", bytes(3 * SHADES)),
        (b"tRNS", alphas),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
