"""Which vowel a syllable ends in, in corpora whose utterances are single syllables."""

from __future__ import annotations

from vgim.downstream.probes.syllable import SyllableProbe


class VowelProbe(SyllableProbe):
    """A class for each vowel that a syllable of the corpus ends in."""

    name = "vowel"

    @classmethod
    def class_of(cls, syllable: str) -> str:
        """The syllable's last letter."""
        return syllable[-1]
