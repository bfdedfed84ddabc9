"""Which vowel an Artificial Speech syllable ends in."""

from __future__ import annotations

from vgim.downstream.probes.syllable import SyllableProbe

VOWELS = ("a", "i", "u")


class VowelProbe(SyllableProbe):
    """A class for each vowel."""

    name = "vowel"
    inventory = VOWELS

    def class_of(self, syllable: str) -> str:
        """The syllable's last letter."""
        return syllable[-1]
