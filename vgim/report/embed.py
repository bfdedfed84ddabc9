"""Pictures and sounds as data URIs, checked before they are embedded and kept within the page's budget."""

from __future__ import annotations

import base64
import io
import struct
import wave
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from vgim.arrays import F64
from vgim.errors import VgimError
from vgim.report.notes import Notes
from vgim.report.spectrogram import draw, levels, read_pcm16
from vgim.storage import Location

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Limits:
    """How much a page may hold."""

    clips: int = 16
    """Sounds of each kind (reconstructions, samples, ...) of each decoder and module."""
    megabytes: float = 24.0
    """Size of pictures and sounds together, before base64, which adds a third."""


@dataclass(frozen=True)
class EmbeddedPicture:
    """A PNG on the page."""

    uri: str
    width: int
    height: int
    caption: str


@dataclass(frozen=True)
class EmbeddedSound:
    """A sound on the page."""

    uri: str
    seconds: float
    levels_RT: F64 | None = None
    """Levels of its spectrogram in dB; missing for a kind of WAV file whose spectrogram is not drawn."""
    spectrogram: str = ""
    """Data URI of a PNG."""


@dataclass
class Embedder:
    """Turns files into data URIs within the budget, and counts them."""

    limits: Limits
    notes: Notes
    num_pictures: int = 0
    num_clips: int = 0
    num_over: int = 0
    """Files that did not fit into the budget."""
    num_bytes: int = 0

    def picture(self, path: Location, caption: str) -> EmbeddedPicture | None:
        """Embed a PNG; None if it is damaged, which is noted, or over the budget."""
        data = self._read(path)
        if data is None:
            return None
        try:
            width, height = png_size(data)
        except ValueError as error:
            self.notes.damage(path, str(error))
            return None
        self.num_pictures += 1
        self.num_bytes += len(data)
        return EmbeddedPicture(_data_uri("image/png", data), width, height, caption)

    def clip(self, path: Location) -> EmbeddedSound | None:
        """Embed a WAV file; None if it is damaged, which is noted, or over the budget."""
        data = self._read(path)
        if data is None:
            return None
        try:
            seconds = wav_seconds(data)
        except ValueError as error:
            self.notes.damage(path, str(error))
            return None
        self.num_clips += 1
        self.num_bytes += len(data)
        samples_L = read_pcm16(data)
        levels_RT = None if samples_L is None else levels(samples_L)
        return EmbeddedSound(_data_uri("audio/wav", data), seconds, levels_RT)

    def with_spectrogram(
        self, sound: EmbeddedSound, on_scale_of: EmbeddedSound | None = None
    ) -> EmbeddedSound:
        """The sound with its spectrogram, if the budget has room for it.

        Args:
            on_scale_of: The sound whose loudest point is full ink; None for the sound itself.
        """
        scale = sound if on_scale_of is None else on_scale_of
        if sound.levels_RT is None or scale.levels_RT is None:
            return sound
        picture = draw(sound.levels_RT, float(scale.levels_RT.max()))
        if self.num_bytes + len(picture) > self.limits.megabytes * 1e6:
            return sound
        self.num_bytes += len(picture)
        return replace(sound, spectrogram=_data_uri("image/png", picture))

    def _read(self, path: Location) -> bytes | None:
        try:
            if self.num_bytes + path.size() > self.limits.megabytes * 1e6:
                self.num_over += 1
                return None
            return path.read_bytes()
        except VgimError as error:
            self.notes.damage(path, str(error))
            return None


def inside(folder: Location, relative: str) -> Location:
    """The file that a record names relative to its folder.

    Raises:
        ValueError: the name leads out of the folder.
    """
    if not relative or relative.startswith("/") or ".." in relative.split("/") or "://" in relative:
        raise ValueError(f"the name {relative!r} does not lie inside the folder")
    return folder.child(relative)


def png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG in pixels; every chunk is checked.

    Raises:
        ValueError: the data is no complete PNG.
    """
    chunks = list(_png_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or chunks[-1][0] != b"IEND":
        raise ValueError("it is no complete PNG")
    width, height = struct.unpack(">II", chunks[0][1][:8])
    if not width or not height:
        raise ValueError("it is an empty PNG")
    return width, height


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of a PNG's chunks, up to the first damaged one."""
    if not data.startswith(PNG):
        return
    start = len(PNG)
    while start + 12 <= len(data):
        (length,) = struct.unpack(">I", data[start : start + 4])
        body, check = data[start + 4 : start + 8 + length], data[start + 8 + length : start + 12 + length]
        if len(check) < 4 or struct.unpack(">I", check)[0] != zlib.crc32(body):
            return
        yield body[:4], body[4:]
        start += 12 + length


def wav_seconds(data: bytes) -> float:
    """Duration of a PCM WAV file in seconds.

    Raises:
        ValueError: the data is no complete PCM WAV file.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            expected_bytes = file.getnframes() * file.getnchannels() * file.getsampwidth()
            if not expected_bytes or len(file.readframes(file.getnframes())) < expected_bytes:
                raise ValueError("it is no complete WAV file")
            return float(file.getnframes() / file.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError) as error:
        raise ValueError(f"it is no complete WAV file ({error or 'it ends early'})") from error


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
