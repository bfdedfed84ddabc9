"""Which errors are a file's own, so that it is skipped, and which end the work."""

from __future__ import annotations

import errno
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from vgim.data import audio
from vgim.data.audio import decode
from vgim.data.audio_problem import AudioProblem
from vgim.data.foreign import own_problems, problem_of, read_foreign
from vgim.errors import DataError, StorageError
from vgim.storage import Location

NOISE = np.random.default_rng(0).integers(-3000, 3000, 3000, dtype=np.int16)


def storage_error(code: int) -> StorageError:
    error = StorageError("cannot read x")
    error.__cause__ = OSError(code, "why")
    return error


@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOENT, errno.ELOOP, errno.EIO, errno.ENAMETOOLONG])
def test_an_error_of_a_file_is_its_own_while_the_corpus_is_there(tmp_path: Path, code: int) -> None:
    (tmp_path / "corpus").mkdir()
    corpus = Location(tmp_path / "corpus")
    assert problem_of(storage_error(code), corpus) is None  # empty: its disk may be gone
    (tmp_path / "corpus/x").touch()
    problem = problem_of(storage_error(code), corpus)
    assert problem is not None
    assert (problem.kind, problem.reason) == ("unreadable", "cannot read x")
    assert problem_of(storage_error(code), Location(tmp_path / "gone")) is None
    assert problem_of(storage_error(code), Location(tmp_path / "corpus/x")) is not None  # a list


def test_errors_that_say_nothing_about_a_file_pass(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        assert problem_of(storage_error(code), Location(tmp_path)) is None
    assert problem_of(storage_error(errno.ETIMEDOUT), Location("s3://bucket/x")) is None
    for error in (DataError("x"), StorageError("x")):
        with pytest.raises(type(error)), own_problems():
            raise error


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (MemoryError(), "unreadable", "there is too little memory for it"),
        (ZeroDivisionError("x"), "corrupt", "decoding stopped with an error (ZeroDivisionError: x)"),
        (AudioProblem("empty", "y"), "empty", "y"),
    ],
)
def test_any_error_of_decoding_is_the_files_own(error: Exception, kind: str, reason: str) -> None:
    with pytest.raises(AudioProblem) as caught, own_problems():
        raise error
    assert (caught.value.kind, caught.value.reason) == (kind, reason)


def test_a_file_that_changed_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"123")
    assert read_foreign(Location(tmp_path / "x"), 3) == read_foreign(Location(tmp_path / "x")) == b"123"
    with pytest.raises(AudioProblem, match="it had 4 bytes when the corpus was listed, and has 3 now"):
        read_foreign(Location(tmp_path / "x"), 4)


def test_a_file_larger_than_any_recording_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**32 + 1)
    with pytest.raises(AudioProblem, match="4294967297 bytes, at most 4294967296 are read"):
        read_foreign(Location(tmp_path / "sparse"))


def sound(container: str, subtype: str | None = None, channels: int = 1) -> bytes:
    out = io.BytesIO()
    samples = np.repeat(NOISE[:, None], channels, axis=1) if channels > 1 else NOISE
    soundfile.write(out, samples, 16_000, format=container, subtype=subtype)
    return out.getvalue()


SOUNDS = (
    sound("WAV"),
    sound("WAV", "FLOAT", channels=2),
    sound("WAV", "IMA_ADPCM"),
    sound("FLAC"),
    sound("OGG", "VORBIS"),
    sound("OGG", "OPUS"),
    sound("MP3"),
    sound("AIFF"),
    sound("CAF"),
)


@given(
    whole=st.sampled_from(SOUNDS),
    cut=st.integers(0, 8000),
    damage=st.lists(
        st.tuples(st.one_of(st.integers(0, 64), st.integers(0, 8000)), st.binary(min_size=1, max_size=4)),
        max_size=6,
    ),
)
def test_damaged_sound_is_decoded_or_has_a_problem(
    whole: bytes, cut: int, damage: list[tuple[int, bytes]]
) -> None:
    data = bytearray(whole[: len(whole) - cut] if cut < len(whole) else whole)
    for at, content in damage:
        data[at : at + len(content)] = content
    with suppress(AudioProblem):  # and no other error: `own_problems` is for what nobody has seen yet
        clip = decode(bytes(data), resample=True, mixdown=True)
        assert clip.samples.dtype == np.int16
        assert clip.samples.ndim == 1


def wav(rate_hz: int, channels: int, bits: int, num_bytes: int, samples: bytes, code: int = 1) -> bytes:
    align = channels * bits // 8 & 0xFFFF
    header = b"".join(
        (value % 256**size).to_bytes(size, "little")
        for value, size in (
            (code, 2),
            (channels, 2),
            (rate_hz, 4),
            (rate_hz * align, 4),
            (align, 2),
            (bits, 2),
        )
    )
    data = b"data" + num_bytes.to_bytes(4, "little") + samples
    return (
        b"RIFF"
        + (len(data) + 28).to_bytes(4, "little")
        + b"WAVEfmt "
        + (16).to_bytes(4, "little")
        + header
        + data
    )


NUMBERS = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 8, 16, 24, 1024, 16_000, 2**31, 2**32 - 1])
)


@given(
    rate_hz=NUMBERS,
    channels=NUMBERS,
    bits=NUMBERS,
    num_bytes=NUMBERS,
    code=st.sampled_from([1, 3, 6, 7, 17, 85]),
)
def test_headers_of_any_numbers_are_decoded_or_have_a_problem(
    rate_hz: int, channels: int, bits: int, num_bytes: int, code: int
) -> None:
    with suppress(AudioProblem):
        decode(wav(rate_hz, channels, bits, num_bytes, bytes(4096), code), resample=True, mixdown=True)


@pytest.mark.parametrize("rate_hz", [1, 100])
def test_a_low_rate_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, rate_hz: int) -> None:
    data = wav(rate_hz, 1, 16, 40_000, bytes(40_000))  # 20,000 samples: 5.5 hours at 1 Hz
    monkeypatch.setattr(audio, "MAX_SAMPLES", 1_000_000)
    with pytest.raises(
        AudioProblem, match="more than 1,000,000 samples, or would at 16000 Hz; cut the recording"
    ):
        decode(data, resample=True)


def test_many_channels_are_read_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "BLOCK_SAMPLES", 2048)
    asked: list[int] = []
    read = soundfile.SoundFile.read

    def spy(file: soundfile.SoundFile, frames: int, dtype: str) -> object:
        asked.append(frames)
        return read(file, frames, dtype=dtype)

    monkeypatch.setattr(soundfile.SoundFile, "read", spy)
    clip = decode(wav(16_000, 1024, 16, 20_480, bytes(20_480)), mixdown=True)
    assert (len(clip.samples), asked) == (10, [2] * 5)
