"""Sounds that browsers sent: decoded within bounds, and kept apart by page."""

from __future__ import annotations

import io
import secrets
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import soundfile

from vgim.data.pcm import Pcm16
from vgim.data.sound_file import decode_sound
from vgim.errors import DataError

MOST_BYTES = 16 * 2**20
MOST_SECONDS = 30
MOST_VALUES = 2**24
"""Samples of all channels together: 30 s of eight channels at 48 kHz fit."""
MOST_RATE_HZ = 384_000
"""Highest sample rate. No recorder has a higher one, and resampling from some takes ten seconds."""
MOST_OF_PAGE = 6
"""Sounds of a page; a new one drops the page's oldest."""
MOST_PAGES = 32
"""Pages that have sounds; a new one drops those of the page that was quiet for longest."""


@dataclass(frozen=True)
class Sound:
    """A sound in memory, of an upload or of the shards."""

    key: str
    name: str
    samples: Pcm16
    note: str = ""
    """How the samples differ from the file's."""
    xy: tuple[float, float] | None = None
    """Place on the map."""


def new_key() -> str:
    """A key that nobody guesses."""
    return f"s{secrets.token_hex(16)}"


def read_upload(data: bytes, name: str, shortest: int) -> tuple[Pcm16, str]:
    """Decode a sound file of any sample rate and number of channels to 16 kHz mono.

    Args:
        data: The file.
        name: Its name, for messages.
        shortest: Fewest samples at 16 kHz.

    Returns:
        The samples, and a sentence about how they differ from the file's, or an empty string.

    Raises:
        DataError: It is no sound, is damaged, too long or too short.
    """
    _check(data, name)
    notes: list[str] = []
    samples = decode_sound(data, name, notes.append)
    if len(samples) < shortest:
        raise DataError(
            f"{name} has {len(samples)} samples at 16 kHz, and a frame needs {shortest}; send a longer sound"
        )
    return samples, "".join(notes).removeprefix(f"note: {name}: ")


def _check(data: bytes, name: str) -> None:
    """Refuse a long sound by its header, before a small file becomes hours of samples, and one of no numbers."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            seconds, values = file.frames / file.samplerate, file.frames * file.channels
            if seconds > MOST_SECONDS:
                raise DataError(f"{name} has {seconds:.1f} s; send at most {MOST_SECONDS} s")
            if file.samplerate > MOST_RATE_HZ:
                raise DataError(f"{name} has {file.samplerate} Hz; send at most {MOST_RATE_HZ} Hz")
            if values > MOST_VALUES:
                raise DataError(f"{name} has {values} samples in all channels; send at most {MOST_VALUES}")
            finite = file.subtype not in ("FLOAT", "DOUBLE") or np.isfinite(file.read(dtype="float32")).all()
    except (soundfile.SoundFileError, RuntimeError, ZeroDivisionError):
        return  # decoding says what is wrong
    if not finite:
        raise DataError(f"{name} has samples that are not finite numbers; send another file")


class Uploads:
    """The sounds of every page, in memory only. A page reaches its own sounds alone."""

    def __init__(self) -> None:
        self._pages: OrderedDict[str, OrderedDict[str, Sound]] = OrderedDict()

    def add(self, page: str, sound: Sound) -> list[str]:
        """Keep a sound, and return the keys of the page's sounds that were dropped for it."""
        sounds = self._pages.setdefault(page, OrderedDict())
        self._pages.move_to_end(page)
        sounds[sound.key] = sound
        dropped = [sounds.popitem(last=False)[0] for _ in range(len(sounds) - MOST_OF_PAGE)]
        while len(self._pages) > MOST_PAGES:
            self._pages.popitem(last=False)
        return dropped

    def get(self, page: str, key: str) -> Sound | None:
        """A page's sound; None if it has no such sound, or no more."""
        sounds = self._pages.get(page)
        if sounds is None:
            return None
        self._pages.move_to_end(page)
        return sounds.get(key)
