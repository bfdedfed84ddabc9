"""Which of Artificial Speech's nine syllables is spoken."""

from __future__ import annotations

from typing import ClassVar

from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import Utterance
from vgim.downstream.probes.probe import UtteranceProbe
from vgim.errors import DataError

SYLLABLES = ("ba", "bi", "bu", "da", "di", "du", "ga", "gi", "gu")


class SyllableProbe(UtteranceProbe):
    """A class for each syllable; utterances of any other syllable are left out."""

    name = "syllable"
    inventory: ClassVar[tuple[str, ...]] = SYLLABLES

    @classmethod
    def find_classes(cls, manifest: Manifest) -> tuple[str, ...]:
        """The probe's inventory."""
        if manifest.corpus != "artificial-speech" or manifest.options.get("part") != "syllables":
            words = manifest.corpus == "artificial-speech"
            found = "its words" if words else f"the corpus {manifest.corpus}"
            raise DataError(
                f"--task {cls.name} needs the syllables of Artificial Speech, and these shards hold {found}; give "
                "--shards that `vgim data prepare artificial-speech --part syllables` wrote"
            )
        return cls.inventory

    def label(self, utterance: Utterance) -> int | None:
        """The class of the syllable in the transcript."""
        syllable = utterance.transcript
        return self.inventory.index(self.class_of(syllable)) if syllable in SYLLABLES else None

    def class_of(self, syllable: str) -> str:
        """Name of a syllable's class."""
        return syllable
