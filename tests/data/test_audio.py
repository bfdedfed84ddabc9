"""Audio files are decoded to int16 mono at 16 kHz, or refused with the reason."""

from __future__ import annotations

import io
import math
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from vgim.data import audio
from vgim.data.audio import _Bytes, decode, decode_local, encode_flac, to_pcm16
from vgim.data.audio_problem import AudioProblem

NOISE = np.random.default_rng(0).integers(-9000, 9000, 30_000, dtype=np.int16)


def file_of(
    samples: np.ndarray, rate: int = 16_000, container: str = "FLAC", subtype: str = "PCM_16"
) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=container, subtype=subtype)
    return out.getvalue()


def without_first_frame(mp3: bytes) -> bytes:
    """An MP3 file without the frame that counts the others."""
    tag = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    return mp3[mp3.index(mp3[:2], tag + 156) :]


def problem(data: bytes) -> AudioProblem:
    with pytest.raises(AudioProblem) as caught:
        decode(data)
    assert "\n" not in caught.value.reason
    return caught.value


@pytest.mark.parametrize("container", ["FLAC", "WAV"])
def test_decoded_samples_are_those_that_were_encoded(container: str) -> None:
    clip = decode(file_of(NOISE, container=container))
    np.testing.assert_array_equal(clip.samples, NOISE)
    assert clip.samples.dtype == np.int16
    assert clip.is_plain_flac == (container == "FLAC")
    np.testing.assert_array_equal(decode(encode_flac(NOISE)).samples, NOISE)


def test_float_samples_are_scaled_and_clipped_to_int16() -> None:
    floats = np.array([0.0, 0.5, -1.0, 2.0], np.float32)
    assert decode(file_of(floats, container="WAV", subtype="FLOAT")).samples.tolist() == [
        0,
        16384,
        -32768,
        32767,
    ]


def test_an_mp3_file_of_variable_rate_that_does_not_give_its_length_is_refused() -> None:
    loud_at_the_end = np.concatenate([NOISE // 1000] + 10 * [NOISE])
    out = io.BytesIO()
    soundfile.write(
        out, loud_at_the_end, 16_000, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE"
    )
    data = out.getvalue()
    assert len(decode(data).samples) == len(loud_at_the_end)
    assert len(decode(data + b"TAG" + bytes(20_000)).samples) == len(loud_at_the_end)
    without_length = without_first_frame(data)
    refused = problem(without_length)
    assert refused.kind == "unreadable"
    assert "bytes come after the length that its header gives, or that is guessed" in refused.reason
    middle = decode(without_length, segment_s=(0.0, 1.0))
    assert len(middle.samples) == 16_000


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.999])
def test_an_ogg_file_that_breaks_off_is_truncated(subtype: str, share: float) -> None:
    data = file_of(np.tile(NOISE, 3), container="OGG", subtype=subtype)
    assert len(decode(data).samples) == 3 * len(NOISE)
    assert len(decode(data + b"something behind it").samples) == 3 * len(NOISE)
    broken = problem(data[: int(share * len(data))])
    assert (broken.kind, broken.reason) == ("truncated", "it ends within a page of Ogg")


@pytest.mark.parametrize("tag", [b"", b"ID3\x04\x00\x00\x00\x00\x01\x00" + bytes(128)])
def test_an_mp3_file_of_constant_rate_needs_no_header_of_its_length(tag: bytes) -> None:
    out = io.BytesIO()
    how = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.5}
    soundfile.write(out, np.tile(NOISE, 20), 44_100, **how)
    data = out.getvalue()
    without_length = tag + without_first_frame(data)
    with soundfile.SoundFile(io.BytesIO(without_length)) as file:
        guessed = file.frames
        assert len(file.read()) < guessed
    clip = decode(without_length, resample=True)
    assert clip.samples.size == pytest.approx(20 * len(NOISE) * 16_000 / 44_100, abs=2000)
    whole = tag + data
    assert len(decode(whole, resample=True).samples) == math.ceil(20 * len(NOISE) * 16_000 / 44_100)
    with pytest.raises(AudioProblem, match="could be decoded"):
        decode(whole[: len(whole) * 3 // 4], resample=True)


def test_parts_of_an_mp3_file_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    swelling = (np.tile(NOISE, 4) * np.linspace(0, 1, 4 * len(NOISE)) ** 4).astype(np.int16)
    out = io.BytesIO()
    soundfile.write(out, swelling, 24_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.9)
    whole, _ = soundfile.read(io.BytesIO(out.getvalue()), dtype="int16")
    monkeypatch.setattr(audio, "resample_pcm16", lambda samples, rate_hz: samples)
    for first in range(1_234, len(whole), 9_000):
        part = decode(out.getvalue(), resample=True, segment_s=(first / 24_000, None)).samples
        np.testing.assert_allclose(part, whole[first:], rtol=0, atol=1)
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 7_000)
    np.testing.assert_allclose(decode(out.getvalue(), resample=True).samples, whole, rtol=0, atol=1)


@pytest.mark.parametrize("container", ["FLAC", "WAV", "MP3", "OGG"])
def test_a_part_of_a_local_file_is_decoded_as_that_of_its_bytes(tmp_path: Path, container: str) -> None:
    subtype = {"MP3": "MPEG_LAYER_III", "OGG": "VORBIS"}.get(container, "PCM_16")
    data = file_of(NOISE, 22_050, container, subtype)
    file = tmp_path / "sound"
    file.write_bytes(data)
    how: dict[str, Any] = {"resample": True, "mixdown": False, "segment_s": (0.25, 1.0)}
    of_bytes, of_file = decode(data, **how), decode_local(file, len(data), **how)
    np.testing.assert_array_equal(of_file.samples, of_bytes.samples)
    assert (of_file.rate_hz, of_file.num_channels) == (22_050, 1)
    with pytest.raises(AudioProblem, match=f"it had 7 bytes when the corpus was listed, and has {len(data)}"):
        decode_local(file, 7, **how)
    file.write_bytes(data[: len(data) // 4])
    with pytest.raises(AudioProblem):
        decode_local(file, len(data) // 4, **{**how, "segment_s": (1.0, 1.3)})


def test_an_error_of_reading_a_local_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = file_of(NOISE)
    file = tmp_path / "sound.flac"
    file.write_bytes(data)
    opened: list[audio._LocalFile] = []
    samples_of = audio._samples_of

    class Kept(audio._LocalFile):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(self)

    def fail_from_now_on(*arguments: Any) -> tuple[int, int]:
        folder = os.open(tmp_path, os.O_RDONLY)
        os.dup2(folder, opened[0].fileno())
        os.close(folder)
        return samples_of(*arguments)

    monkeypatch.setattr(audio, "_LocalFile", Kept)
    monkeypatch.setattr(audio, "_samples_of", fail_from_now_on)
    with pytest.raises(IsADirectoryError):
        decode_local(file, len(data), resample=False, mixdown=False, segment_s=(0.5, 1.0))


@pytest.mark.parametrize(
    ("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")]
)
def test_loud_samples_of_lossy_files_are_clipped(container: str, subtype: str) -> None:
    tone = np.sin(2 * np.pi * 200 / 16_000 * np.arange(32_000))
    data = file_of(np.clip(3 * tone, -1, 1).astype(np.float32), container=container, subtype=subtype)
    floats, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert np.abs(floats).max() > 1
    samples = decode(data).samples / np.float32(2**15)
    np.testing.assert_allclose(samples, np.clip(floats, -1, 1), atol=2**-14)


def test_an_unusable_file_is_refused_with_its_kind_and_the_reason() -> None:
    whole = file_of(NOISE)
    assert problem(b"").kind == "empty"
    assert problem(file_of(NOISE[:0], container="WAV")).kind == "empty"
    corrupt = problem(b"nothing of the kind" * 50)
    assert (corrupt.kind, corrupt.reason) == ("corrupt", "not readable as audio (Format not recognised)")
    assert problem(whole[: len(whole) // 2]).kind == "truncated"
    assert "sample rate 8000 Hz, expected 16000" in problem(file_of(NOISE, 8000)).reason
    stereo = problem(file_of(np.stack([NOISE, NOISE], axis=1)))
    assert (stereo.kind, stereo.reason.split(",")[0]) == ("channels", "2 channels")


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_a_wav_file_whose_samples_end_early_is_truncated(subtype: str) -> None:
    samples = NOISE.astype(np.float32) / 2**15
    whole = file_of(samples, container="WAV", subtype=subtype)
    decode(whole)
    decode(whole + b"junk")
    cut = problem(whole[: len(whole) // 2])
    assert cut.kind == "truncated"
    assert "bytes of samples are there that the header promises" in cut.reason


def test_a_wav_file_that_was_written_into_a_pipe_is_read_to_its_end() -> None:
    data = bytearray(file_of(NOISE, container="WAV"))
    at = data.index(b"data") + 4
    for placeholder in (0xFFFFFFFF, 0x7FFFF000):
        data[at : at + 4] = placeholder.to_bytes(4, "little")
        assert np.array_equal(decode(bytes(data)).samples, NOISE)


def test_damage_in_the_middle_of_a_file_is_noticed() -> None:
    data = bytearray(file_of(NOISE))
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    assert problem(bytes(data)).kind in ("truncated", "corrupt")


def test_resampling_keeps_a_tone_and_mixing_averages() -> None:
    time = np.arange(44_100) / 44_100
    tone = np.round(8000 * np.sin(2 * np.pi * 440 * time)).astype(np.int16)
    clip = decode(file_of(tone, 44_100, "WAV"), resample=True)
    expected = 8000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    assert len(clip.samples) == 16_000
    assert np.abs(clip.samples[500:-500] - expected[500:-500]).max() < 80
    assert not clip.is_plain_flac
    both = decode(file_of(np.stack([NOISE, -NOISE], axis=1), container="WAV"), mixdown=True)
    assert np.abs(both.samples).max() == 0


@pytest.mark.parametrize(
    "rate", [8_000, 11_025, 22_050, 32_000, 37_800, 44_056, 44_100, 48_000, 50_000, 96_000, 192_000]
)
def test_common_rates_are_resampled(rate: int) -> None:
    clip = decode(file_of(NOISE, rate, "WAV"), resample=True)
    assert len(clip.samples) == -(-len(NOISE) * 16_000 // rate)
    assert (clip.rate_hz, clip.num_channels) == (rate, 1)


@pytest.mark.parametrize("rate", [44_101, 1_000_003])
def test_a_rate_whose_filter_would_fill_memory_is_refused(rate: int) -> None:
    with pytest.raises(AudioProblem, match=f"sample rate {rate} Hz has no small ratio to 16000 Hz") as caught:
        decode(file_of(NOISE, rate, "WAV"), resample=True)
    assert caught.value.kind == "sample rate"


def without_length(flac: bytes) -> bytes:
    """A FLAC file as programs write it into a pipe: the 36 bits of its length are zero."""
    data = bytearray(flac)
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


def test_a_flac_file_whose_header_gives_no_length_is_refused_with_the_reason() -> None:
    assert "its header gives no length" in problem(without_length(encode_flac(NOISE))).reason


def test_a_header_that_promises_more_than_memory_holds_is_refused() -> None:
    data = bytearray(encode_flac(np.zeros(40_000, np.int16)))
    data[21] |= 0x0F
    assert problem(bytes(data)).kind in ("truncated", "corrupt")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused(bad: float) -> None:
    floats = np.zeros(1000, np.float32)
    floats[7] = bad
    out = io.BytesIO()
    soundfile.write(out, floats, 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioProblem, match="no finite numbers"):
        decode(out.getvalue())


def test_samples_of_any_size_are_clipped_without_a_warning() -> None:
    floats = np.array([np.finfo(np.float32).max, np.finfo(np.float32).min, 0.5], np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_pcm16(floats).tolist() == [32767, -32768, 16384]


def test_a_seek_to_before_the_start_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(file_of(NOISE, container="WAV"))
    with soundfile.SoundFile(_Bytes(data)) as file:
        assert _Bytes(data).seek(-1) == 0
        assert _Bytes(data).seek(-9, io.SEEK_END) == len(data) - 9
        assert file.frames == len(NOISE)
    assert capfd.readouterr().err == ""
