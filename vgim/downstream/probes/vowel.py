"""Which vowel an Artificial Speech syllable ends in: the mean over time of its features, one linear map."""

from __future__ import annotations

from typing import ClassVar

from vgim.downstream.probes.syllable import SyllableProbe

VOWELS = ("a", "i", "u")


class VowelProbe(SyllableProbe):
    """A class per vowel; else as for syllables."""

    name: ClassVar[str] = "vowel"
    inventory: ClassVar[tuple[str, ...]] = VOWELS

    def label_of(self, syllable: str) -> str:
        """Its last letter."""
        return syllable[-1]
