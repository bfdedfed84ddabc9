"""Spectrograms: a tone is a line at its frequency; the PNG is whole, small and the same each time."""

from __future__ import annotations

import io
import wave
import zlib

import numpy as np
import pytest

from vgim.report.embed import png_size
from vgim.report.spectrogram import MOST_FRAMES, ROWS, SHADES, draw, levels, read_pcm16


def tone(hz: float, seconds: float = 1.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(int(16_000 * seconds)) / 16_000)


@pytest.mark.parametrize("hz", [500.0, 2000.0, 7500.0])
def test_a_tone_is_a_line_at_its_frequency(hz: float) -> None:
    decibels = levels(tone(hz))
    row = int(decibels[:, 10:-10].mean(1).argmax())
    assert ROWS - 1 - row == int(hz / 8000 * ROWS)


def test_the_picture_is_a_whole_png_of_opacities() -> None:
    decibels = levels(tone(1000.0, 0.63))
    data = draw(decibels, float(decibels.max()))
    assert png_size(data) == (decibels.shape[1], ROWS)
    assert data == draw(decibels, float(decibels.max()))
    start = data.index(b"IDAT") + 4
    rows = zlib.decompress(data[start : data.index(b"IEND") - 8])
    width = 1 + -(-decibels.shape[1] // 2)
    shades = np.frombuffer(rows, np.uint8).reshape(ROWS, width)[:, 1:]
    assert shades[ROWS - 1 - 8, 20] == (SHADES - 1) * 17  # two pixels of full ink
    assert shades[5, 5:-5].max() == 0


def test_a_quiet_sound_on_the_scale_of_a_loud_one_has_less_ink() -> None:
    loud, quiet = levels(tone(1000.0)), levels(0.01 * tone(1000.0))
    own, beside = draw(quiet, float(quiet.max())), draw(quiet, float(loud.max()))
    assert own != beside
    assert draw(levels(np.zeros(4000)), float(loud.max())) == draw(np.full((ROWS, 32), -100.0), 0.0)


def test_long_and_short_sounds_have_bounded_pictures() -> None:
    assert levels(tone(300.0, 60.0)).shape == (ROWS, MOST_FRAMES)
    assert levels(tone(300.0, 0.001)).shape[1] >= 1


@pytest.mark.parametrize(("channels", "width", "is_read"), [(1, 2, True), (2, 2, False), (1, 4, False)])
def test_only_mono_sounds_of_16_bits_are_read(channels: int, width: int, is_read: bool) -> None:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(16_000)
        file.writeframes(bytes(channels * width * 100))
    assert (read_pcm16(out.getvalue()) is not None) == is_read
