"""What an aligner is, and all aligners by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vgim.data.corpora.phone_labels import Phones
from vgim.data.pcm import Pcm16
from vgim.errors import ConfigError


class NoAlignment(Exception):  # noqa: N818 (no error of the program: the utterance stays without labels)
    """An utterance that cannot be aligned; the message is the reason."""


class Aligner(Protocol):
    """Finds the phone of every 10 ms of an utterance whose words are known. Not safe for several threads."""

    description: str
    """Name, version and model: labels by the same description are the same."""
    inventory: tuple[str, ...]
    """Name of each phone class."""

    def align(self, audio: Pcm16, transcript: str) -> Phones:
        """Align an utterance, whatever was aligned before.

        Args:
            audio: [num_samples], 16 kHz mono.
            transcript: Its words.

        Returns:
            Class per 10 ms, [num_frames].

        Raises:
            NoAlignment: The transcript has no words or an unknown one, or does not fit the audio.
        """


def _pocketsphinx(dictionary: str | None) -> Aligner:
    from vgim.data.align.pocketsphinx import PocketSphinx

    return PocketSphinx(dictionary)


ALIGNERS: dict[str, Callable[[str | None], Aligner]] = {"pocketsphinx": _pocketsphinx}
"""Name on the command line → how to make it, with a pronunciation dictionary of the user's or None."""
DEFAULT = "pocketsphinx"


def make_aligner(name: str, dictionary: str | None = None) -> Aligner:
    """An aligner by its name.

    Args:
        name: A name in `ALIGNERS`.
        dictionary: Local file with pronunciations besides the aligner's own.

    Raises:
        ConfigError: There is no such aligner, or its package is not installed.
        DataError: The dictionary cannot be read.
    """
    if name not in ALIGNERS:
        raise ConfigError(f"there is no aligner {name!r}; choose from {', '.join(ALIGNERS)}")
    return ALIGNERS[name](dictionary)
