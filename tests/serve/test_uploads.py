"""Sound files of any kind are taken within bounds, or refused in one line; pages do not see each other's."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
import soundfile

from tests.serve.sounds import noise_file
from vgim.errors import DataError
from vgim.serve import uploads
from vgim.serve.uploads import MOST_OF_PAGE, MOST_PAGES, Sound, Uploads, new_key, read_upload


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_number_of_channels_becomes_16_khz_mono(rate: int, channels: int) -> None:
    samples, note = read_upload(noise_file(0.5, rate, channels), "n.wav", 100)
    assert len(samples) == pytest.approx(8_000, abs=1)
    assert samples.dtype == np.int16
    assert ("resampled" in note) == (rate != 16_000)
    assert ("averaged 2 channels" in note) == (channels == 2)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_formats_of_libsndfile_are_read(kind: str) -> None:
    samples, _ = read_upload(noise_file(0.5, kind=kind), f"n.{kind}", 100)
    assert len(samples) == pytest.approx(8_000, abs=1_500)


def damaged(kind: str) -> bytes:
    whole = noise_file(0.5, kind=kind)
    return whole[: len(whole) // 2]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "x cannot be decoded: the file has no bytes"),
        (b"not a sound" * 100, "x cannot be decoded: not readable as audio"),
        (b"\x80\x04\x95pickle" * 50, "x cannot be decoded: not readable as audio"),
        (damaged("WAV"), "x cannot be decoded: .* bytes of samples are there"),
        (damaged("FLAC"), "x cannot be decoded: .*"),
        (noise_file(0), "x cannot be decoded: it holds no samples"),
        (noise_file(0.001), "x has 16 samples at 16 kHz, and a frame needs 100"),
        (noise_file(30.5), r"x has 30.5 s; send at most 30 s"),
        (noise_file(0.1, rate=8_339_072), "x has 8339072 Hz; send at most 384000 Hz"),
        (noise_file(0.5, rate=44_101), "x cannot be decoded: sample rate 44101 Hz has no small ratio"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(data: bytes, told: str) -> None:
    with pytest.raises(DataError) as refused:
        read_upload(data, "x", 100)
    assert re.match(told, str(refused.value))
    assert "\n" not in str(refused.value)


def test_a_small_file_of_minutes_of_silence_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", 16_000, 1, format="FLAC") as file:
        for _ in range(10):
            file.write(np.zeros(16_000 * 60, np.int16))
    assert len(out.getvalue()) < 2**20
    monkeypatch.setattr(uploads, "decode_sound", lambda *args: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=r"x has 600\.0 s"):
        read_upload(out.getvalue(), "x", 100)


def test_many_channels_are_refused_by_their_number_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "MOST_VALUES", 100_000)
    with pytest.raises(DataError, match="x has 160000 samples in all channels; send at most 100000"):
        read_upload(noise_file(0.1, channels=100), "x", 100)


def test_samples_that_are_no_numbers_are_refused() -> None:
    out = io.BytesIO()
    samples = np.full(8_000, np.nan, np.float32)
    samples[::2] = np.inf
    soundfile.write(out, samples, 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(DataError, match="x has samples that are not finite numbers"):
        read_upload(out.getvalue(), "x", 100)


def silence(name: str) -> Sound:
    return Sound(new_key(), name, np.zeros(100, np.int16))


def test_a_page_has_its_own_sounds_and_newer_ones_drop_the_oldest() -> None:
    kept = Uploads()
    sounds = [silence(f"{number}") for number in range(MOST_OF_PAGE + 1)]
    dropped = [kept.add("a", sound) for sound in sounds]
    assert dropped == [[]] * MOST_OF_PAGE + [[sounds[0].key]]
    assert kept.get("a", sounds[0].key) is None
    assert kept.get("a", sounds[1].key) is sounds[1]
    assert kept.get("b", sounds[1].key) is None


def test_sounds_of_the_page_that_was_quiet_longest_are_dropped() -> None:
    kept = Uploads()
    first, second = silence("first"), silence("second")
    kept.add("first", first)
    kept.add("second", second)
    assert kept.get("first", first.key) is first  # it is no longer the quiet one
    for number in range(MOST_PAGES - 1):
        kept.add(f"page {number}", silence("x"))
    assert kept.get("second", second.key) is None
    assert kept.get("first", first.key) is first
