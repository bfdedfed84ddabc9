"""A sound file that a user names: the samples of preparation, a note where they were converted, errors in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from vgim.data.audio import decode
from vgim.data.sound_file import read_sound
from vgim.errors import DataError

NOISE = 0.1 * np.random.default_rng(0).standard_normal((9_000, 2))


def test_a_file_as_the_encoder_needs_it_is_read_without_a_note(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, NOISE[:, 0], 16_000, subtype="PCM_16")
    notes: list[str] = []
    np.testing.assert_array_equal(read_sound(str(file), notes.append), soundfile.read(file, dtype="int16")[0])
    assert notes == []


def test_another_rate_is_resampled_as_in_preparation_and_said(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    soundfile.write(file, NOISE, 44_100)
    notes: list[str] = []
    prepared = decode(file.read_bytes(), resample=True, mixdown=True).samples
    np.testing.assert_array_equal(read_sound(str(file), notes.append), prepared)
    assert notes == [f"note: {file}: averaged 2 channels, resampled 44100 Hz to 16000 Hz"]


def test_no_audio_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_text("no audio")
    with pytest.raises(
        DataError, match=r"not readable as audio .*; give a WAV, FLAC or other file"
    ) as caught:
        read_sound(str(file), print)
    assert "\n" not in str(caught.value)
