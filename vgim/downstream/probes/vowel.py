"""Which vowel a syllable ends in, in corpora whose utterances are single syllables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from vgim.downstream.probes.syllable import SyllableProbe


class VowelProbe(SyllableProbe):
    """A class for each vowel that a syllable of the corpus ends in."""

    name = "vowel"
    class_parts: ClassVar[Mapping[str, Callable[[str], str]]] = {}

    @classmethod
    def class_of(cls, syllable: str) -> str:
        """The syllable's last letter."""
        return syllable[-1]
