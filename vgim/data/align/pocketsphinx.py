"""Forced alignment by PocketSphinx with its English model: words first, then the phones within them.

D. Huggins-Daines et al., "PocketSphinx: a free, real-time continuous speech recognition system", ICASSP 2006.
"""

from __future__ import annotations

import re
from contextlib import suppress

import numpy as np

from vgim.data.align.aligner import NoAlignment
from vgim.data.corpora.phone_labels import SILENCE, Phones
from vgim.data.pcm import Pcm16
from vgim.data.text_lines import read_whole_lines
from vgim.errors import DataError
from vgim.extras import require_extra
from vgim.storage import Location
from vgim.text import first_few, shorten

# ARPAbet without stress.
_VOWELS = ("AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW")
_CONSONANTS = (*"BDFGKLMNPRSTVWYZ", "CH", "DH", "HH", "JH", "NG", "SH", "TH", "ZH")
PHONES = tuple(sorted(_VOWELS + _CONSONANTS))
INVENTORY = (SILENCE, *PHONES)
_STRESS = re.compile(r"[0-9]+$")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*['’]?")
MIN_SAMPLES = 4_000
"""A quarter of a second: the model's windows and three states for a phone want as much."""


class PocketSphinx:
    """PocketSphinx and the model that it brings.

    Args:
        dictionary: Local file of lines such as `hello HH AH L OW`, for words that the model's dictionary lacks.

    Raises:
        ConfigError: pocketsphinx is not installed.
        DataError: The dictionary cannot be read, or has a phone that the model lacks.
    """

    inventory = INVENTORY

    def __init__(self, dictionary: str | None = None) -> None:
        require_extra("vgim data align", "align", ("pocketsphinx",))
        import pocketsphinx

        # The best path through the lattice of words, the default, gives words fewer frames than their phones need.
        self._decoder = pocketsphinx.Decoder(lm=None, bestpath=False, loglevel="FATAL")
        self.description = f"pocketsphinx {_version()}, en-us"
        self._class_of = {name: number for number, name in enumerate(INVENTORY)}
        if dictionary is not None:
            self._add_words(Location(dictionary))

    def align(self, audio: Pcm16, transcript: str) -> Phones:
        """Align an utterance. See `Aligner.align`."""
        words = [word.replace("’", "'") for word in _WORD.findall(transcript.lower())]
        if not words:
            raise NoAlignment("it has no transcript")
        unknown = sorted({word for word in words if self._decoder.lookup_word(word) is None})
        if unknown:
            raise NoAlignment(f"no pronunciation of {first_few(unknown)}")
        if len(audio) < MIN_SAMPLES:
            raise NoAlignment(f"{len(audio)} samples are too few to align")
        self._decoder.reinit_feat()  # or what was aligned before would matter
        try:
            self._decoder.set_align_text(" ".join(words))
            self._decode(audio)
            self._decoder.set_alignment()
            self._decode(audio)
            alignment = self._decoder.get_alignment()
        except RuntimeError as error:
            self._end()
            raise NoAlignment(f"the words do not fit the audio ({shorten(str(error))})") from None
        if alignment is None:
            raise NoAlignment("the words do not fit the audio")
        pieces = [
            np.full(phone.duration, self._class_of.get(_STRESS.sub("", phone.name), 0), np.int16)
            for word in alignment
            for phone in word
        ]
        return np.concatenate(pieces)

    def _decode(self, audio: Pcm16) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(audio.tobytes(), full_utt=True)
        self._decoder.end_utt()

    def _end(self) -> None:
        with suppress(RuntimeError):
            self._decoder.end_utt()

    def _add_words(self, file: Location) -> None:
        if not file.exists():
            raise DataError(f"there is no dictionary {file}; check --dictionary")
        for line in read_whole_lines(file):
            word, *phones = line.text.split()
            plain = [_STRESS.sub("", phone.upper()) for phone in phones]
            if not plain or not set(plain) <= set(PHONES):
                raise DataError(
                    f"{file}, line {line.number}: expected a word and its phones ({PHONES[0]} to {PHONES[-1]}), got "
                    f"{shorten(line.text)!r}"
                )
            word = re.sub(r"\([0-9]+\)$", "", word.lower())
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, " ".join(plain), True)


def _version() -> str:
    from importlib.metadata import version

    return version("pocketsphinx")
