"""Decode audio files to 16 kHz mono PCM16 with libsndfile. An unusable file raises `AudioProblem`."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from vgim.data.audio_problem import AudioProblem, check_listed
from vgim.data.pcm import PCM16_SCALE, SAMPLE_RATE_HZ, Pcm16
from vgim.extras import import_torchaudio

LARGEST_FILTER = 2**26
"""Most coefficients of a resampling filter: 256 MiB. Common rates need less than a tenth of that."""
FILTER_WIDTH = 6
"""Zero crossings on each side of torchaudio's windowed sinc, its default."""

BLOCK_SAMPLES = 2**22
"""Samples that are read at once, all channels together."""
MAX_SAMPLES = 2**30 - 2**20
"""Most samples of a file, all channels together, and most at 16 kHz: 18.6 hours. A page of Parquet holds no more."""
UNKNOWN_FRAMES = 2**62
"""libsndfile's length, or more, of a FLAC file whose header gives none: it was written into a pipe."""
FLOAT_SUBTYPES = ("FLOAT", "DOUBLE", "VORBIS", "OPUS")
"""Samples that libsndfile holds as floats. As integers, those of WAV are unscaled, and loud ones of Ogg wrap around."""
OGG_PAGE_BYTES = 65_307
"""Most bytes of a page of Ogg."""
MP3_PADDING_BYTES = 2**13
"""More than encoders write behind the last sample of an MP3 file."""
MP3_LEAD_SAMPLES = 2**15
"""Samples before a place in an MP3 file that are decoded first: frames there hold bits of the next ones."""
UNKNOWN_WAV_BYTES = 0x7FFF0000
"""Sizes from here on are placeholders of programs that wrote a WAV file into a pipe, before its length was known."""


class _Bytes(io.BytesIO):
    """A file in memory in which libsndfile may seek to before the start, as damaged headers tell it to."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)


class _LocalFile(io.FileIO):
    """A local file that is read as `_Bytes` is. An error of reading would get lost within libsndfile: it is kept."""

    error: OSError | None = None

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(max(offset, 0) if whence == io.SEEK_SET else offset, whence)

    def readinto(self, buffer: Any) -> int | None:
        try:
            return super().readinto(buffer)
        except OSError as error:
            self.error = error
            return 0


@dataclass(frozen=True)
class DecodedAudio:
    """The samples of one audio file."""

    samples: Pcm16
    """[num_samples], 16 kHz mono."""
    is_plain_flac: bool
    """Whether the file is 16-bit FLAC of exactly these samples, so that a shard can hold the file's own bytes."""
    rate_hz: int
    """Sample rate of the file."""
    num_channels: int
    """Channels of the file."""


def decode(
    data: bytes,
    *,
    resample: bool = False,
    mixdown: bool = False,
    segment_s: tuple[float, float | None] | None = None,
) -> DecodedAudio:
    """Decode a sound file, or a part of it.

    Args:
        data: Bytes of the file.
        resample: Convert other sample rates to 16 kHz instead of raising.
        mixdown: Average the channels instead of raising.
        segment_s: First second of the part, and the second after its last; None of the two for the file's end. None for
            the whole file.

    Raises:
        AudioProblem: The file cannot be used.
        ConfigError: It is to be resampled, and torchaudio cannot be imported.
    """
    return _decode(_Bytes(data), len(data), resample, mixdown, segment_s)


def decode_local(
    path: Path,
    listed_bytes: int,
    *,
    resample: bool,
    mixdown: bool,
    segment_s: tuple[float, float | None] | None,
) -> DecodedAudio:
    """Decode a part of a local file as `decode` does, of which only the bytes that are needed are read.

    Args:
        path: The file.
        listed_bytes: Its size when it was listed.
        resample: As for `decode`.
        mixdown: As for `decode`.
        segment_s: As for `decode`.

    Raises:
        AudioProblem: The file cannot be used, or is not as it was listed.
        ConfigError: It is to be resampled, and torchaudio cannot be imported.
        OSError: The file cannot be read.
    """
    check_listed(path.stat().st_size, listed_bytes)  # before it is opened: a pipe would wait
    with _LocalFile(path) as stream:
        try:
            return _decode(stream, listed_bytes, resample, mixdown, segment_s)
        except AudioProblem:
            if stream.error is not None:
                raise stream.error from None
            raise


def _decode(
    stream: Any,
    num_bytes: int,
    resample: bool,
    mixdown: bool,
    segment_s: tuple[float, float | None] | None,
) -> DecodedAudio:
    """`decode` of a binary seekable file of so many bytes."""
    if not num_bytes:
        raise AudioProblem("empty", "the file has no bytes")
    with _open(stream) as file:
        _check_wav_is_whole(stream, num_bytes)
        if file.format == "OGG":
            _check_ogg_is_whole(stream, num_bytes)
        _check_header(file, resample=resample, mixdown=mixdown)
        first, last = _samples_of(segment_s, file)
        samples = _read_samples(
            file,
            first,
            last,
            ends_early=lambda: stream.tell() >= num_bytes,
            is_guessed=file.format == "MP3" and not _counts_mp3_frames(stream),
        )
        if file.format == "MP3" and last == file.frames:
            _check_mp3_is_read(stream, num_bytes)
        is_mono_flac = file.format == "FLAC" and file.subtype == "PCM_16" and file.channels == 1
        rate_hz, num_channels = file.samplerate, file.channels
    if samples.ndim == 2:
        samples = np.rint(samples.mean(axis=1)).astype(np.int16)
    if rate_hz != SAMPLE_RATE_HZ:
        samples = resample_pcm16(samples, rate_hz)
    is_plain_flac = is_mono_flac and rate_hz == SAMPLE_RATE_HZ and segment_s is None
    return DecodedAudio(samples, is_plain_flac, rate_hz, num_channels)


def read_length(
    stream: Any, *, resample: bool, mixdown: bool, segment_s: tuple[float, float | None] | None
) -> int:
    """Samples at 16 kHz that `decode` finds in a sound file, or a part of it, by its header.

    Args:
        stream: The file, binary and seekable; its first bytes are read, or as many as its header takes.
        resample: As for `decode`.
        mixdown: As for `decode`.
        segment_s: As for `decode`.

    Raises:
        AudioProblem: The header says that the file cannot be used.
    """
    with _open(stream) as file:
        _check_header(file, resample=resample, mixdown=mixdown)
        first, last = _samples_of(segment_s, file)
        num_samples: int = math.ceil((last - first) * SAMPLE_RATE_HZ / file.samplerate)
        return num_samples


def _open(stream: Any) -> Any:
    try:
        return soundfile.SoundFile(stream)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise AudioProblem("corrupt", f"not readable as audio ({_libsndfile_message(error)})") from error


def _check_header(file: Any, *, resample: bool, mixdown: bool) -> None:
    """Raise AudioProblem if the header of an open file says that it cannot be used."""
    if file.frames == 0:
        raise AudioProblem("empty", "it holds no samples")
    if not 0 < file.frames < UNKNOWN_FRAMES:  # libsndfile cannot tell where the last block of samples ends
        raise AudioProblem(
            "unreadable", "its header gives no length, as of a file written into a pipe; encode it again"
        )
    if file.samplerate != SAMPLE_RATE_HZ and not resample:
        raise AudioProblem(
            "sample rate",
            f"sample rate {file.samplerate} Hz, expected {SAMPLE_RATE_HZ}; resample it or use --resample",
        )
    if file.channels != 1 and not mixdown:
        raise AudioProblem("channels", f"{file.channels} channels, expected 1; mix it down or use --mixdown")
    if _filter_size(file.samplerate) > LARGEST_FILTER:
        raise AudioProblem(
            "sample rate",
            f"sample rate {file.samplerate} Hz has no small ratio to {SAMPLE_RATE_HZ} Hz; resample the file with "
            "another tool",
        )


def _check_wav_is_whole(stream: Any, num_bytes: int) -> None:
    """Raise AudioProblem if the samples end before the header says so, which libsndfile accepts silently."""
    place = stream.tell()
    stream.seek(0)
    header = stream.read(12)
    at = 12  # "RIFF", size, "WAVE", then chunks: a name, a size, that many bytes, a byte of padding after an odd size
    while header[:4] == b"RIFF" and header[8:12] == b"WAVE" and at + 8 <= num_bytes:
        stream.seek(at)
        chunk = stream.read(8)
        num_promised = int.from_bytes(chunk[4:], "little")
        at += 8
        if chunk[:4] == b"data":
            if num_bytes < at + num_promised < at + UNKNOWN_WAV_BYTES:
                reason = f"{num_bytes - at} of the {num_promised} bytes of samples are there that the header promises"
                raise AudioProblem("truncated", reason)
            break
        at += num_promised + num_promised % 2
    stream.seek(place)


def _check_ogg_is_whole(stream: Any, num_bytes: int) -> None:
    """Raise AudioProblem if an Ogg file ends within a page, whose samples and all later ones libsndfile leaves out."""
    place = stream.tell()
    stream.seek(max(0, num_bytes - OGG_PAGE_BYTES))
    end = stream.read(OGG_PAGE_BYTES)
    stream.seek(place)
    page = end[end.rfind(b"OggS") :] if b"OggS" in end else b""
    # A header of 27 bytes, of which the last is the number of segments; their sizes, a byte each; the segments.
    sizes = page[27 : 27 + page[26]] if len(page) > 26 else b""
    is_whole = len(page) > 26 and len(sizes) == page[26] and len(page) >= 27 + len(sizes) + sum(sizes)
    if page and not is_whole:
        raise AudioProblem("truncated", "it ends within a page of Ogg")


def _counts_mp3_frames(stream: Any) -> bool:
    """Whether the first frame of an MP3 file says how many follow. Else libsndfile guesses by the size of the first."""
    place = stream.tell()
    stream.seek(0)
    tag = stream.read(10)  # "ID3", version, flags, and the size in four bytes of seven bits
    stream.seek(10 + sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=False)))
    if tag[:3] != b"ID3":
        stream.seek(0)
    frame = stream.read(64)
    stream.seek(place)
    return any(name in frame for name in (b"Xing", b"Info", b"VBRI"))


def _check_mp3_is_read(stream: Any, num_bytes: int) -> None:
    """Raise AudioProblem if frames follow the last one by libsndfile's length."""
    num_left = num_bytes - stream.tell()
    is_frame = stream.read(1) == b"\xff"  # tags at the end of an MP3 file begin with a letter
    if is_frame and num_left > MP3_PADDING_BYTES:
        raise AudioProblem(
            "unreadable",
            f"{num_left} of its {num_bytes} bytes come after the length that its header gives, or that is guessed "
            "without one; encode it again",
        )


def _samples_of(segment_s: tuple[float, float | None] | None, file: Any) -> tuple[int, int]:
    """The first sample of a segment of an open file, and the one after its last."""
    if segment_s is None:
        return 0, file.frames
    first = round(segment_s[0] * file.samplerate)
    last = file.frames if segment_s[1] is None else min(round(segment_s[1] * file.samplerate), file.frames)
    if last <= first < file.frames:
        raise AudioProblem(
            "empty", f"the segment from {segment_s[0]:g} s to {segment_s[1]:g} s has no sample"
        )
    if first >= last:
        there = f"the file has {file.frames / file.samplerate:.2f} s"
        raise AudioProblem("empty", f"nothing is there from {segment_s[0]:g} s on; {there}")
    return first, last


def _read_samples(
    file: Any, first: int, last: int, ends_early: Callable[[], bool], is_guessed: bool = False
) -> Pcm16:
    """Samples `first` to `last` of an open file, [num_samples] or [num_samples, num_channels].

    Memory is taken for samples that are there, not for those that a header promises.

    Args:
        file: The file.
        first: First sample.
        last: The one after the last.
        ends_early: Whether all bytes of the file were read.
        is_guessed: Whether `last` may be beyond the file's end.
    """
    num_expected, blocks, num_read = last - first, list[Pcm16](), 0
    try:
        if first:
            file.seek(first)
        while num_read < num_expected:
            block = _read_block(file, min(max(1, BLOCK_SAMPLES // file.channels), num_expected - num_read))
            if not len(block):
                break
            blocks.append(block)
            num_read += len(block)
            if num_read * max(file.channels, SAMPLE_RATE_HZ / file.samplerate) > MAX_SAMPLES:
                raise AudioProblem(
                    "unreadable",
                    f"it holds more than {MAX_SAMPLES:,} samples, or would at {SAMPLE_RATE_HZ} Hz; cut the recording",
                )
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        if ends_early():
            reason = f"the data ends before the {num_expected} samples that the header promises"
            raise AudioProblem("truncated", reason) from error
        reason = f"decoding stopped with an error ({_libsndfile_message(error)})"
        raise AudioProblem("corrupt", reason) from error
    if num_read != num_expected and not (is_guessed and num_read and ends_early()):
        raise AudioProblem("truncated", f"truncated: {num_read} of {num_expected} samples could be decoded")
    return np.concatenate(blocks)


def _read_block(file: Any, num_samples: int) -> Pcm16:
    if file.format == "MP3" and (lead := min(file.tell(), MP3_LEAD_SAMPLES)):
        file.seek(-lead, io.SEEK_CUR)  # also within a file: soundfile seeks after each block
        return np.asarray(file.read(lead + num_samples, dtype="int16")[lead:], dtype=np.int16)
    if file.subtype not in FLOAT_SUBTYPES:
        return np.asarray(file.read(num_samples, dtype="int16"), dtype=np.int16)
    floats = file.read(num_samples, dtype="float32")
    if not np.isfinite(floats).all():
        raise AudioProblem("corrupt", "it holds samples that are no finite numbers")
    return to_pcm16(floats)


def to_pcm16(floats: npt.NDArray[np.float32]) -> Pcm16:
    """Round float PCM in [-1, 1] to int16. Values outside are clipped."""
    scaled = np.rint(np.clip(floats, -1, 1) * PCM16_SCALE)
    return np.clip(scaled, -PCM16_SCALE, PCM16_SCALE - 1).astype(np.int16)


def resample_pcm16(samples: Pcm16, rate_hz: int, to_hz: int = SAMPLE_RATE_HZ) -> Pcm16:
    """Resample int16 mono with a windowed sinc filter."""
    import torch

    resample = import_torchaudio("functional").resample
    wave = torch.from_numpy(samples.astype(np.float32) / PCM16_SCALE)
    return to_pcm16(resample(wave, rate_hz, to_hz).numpy())


def _filter_size(rate_hz: int) -> int:
    """Coefficients of the filter that resamples to 16 kHz: a phase for each output sample of a period."""
    shared = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    old, new = rate_hz // shared, SAMPLE_RATE_HZ // shared
    return new * (old + 2 * math.ceil(FILTER_WIDTH * old / min(old, new)))


def encode_flac(samples: Pcm16, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    """16-bit mono FLAC. The same samples give the same bytes."""
    out = io.BytesIO()
    soundfile.write(out, samples, rate_hz, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _libsndfile_message(error: Exception) -> str:
    # str() of a SoundFileError also holds the address of the buffer, error_string only the message
    message = str(getattr(error, "error_string", error)).removeprefix("Error : ")
    return message.replace("\n", " ").strip().rstrip(".")[-80:]
