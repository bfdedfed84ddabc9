"""Which syllable is spoken, in corpora whose utterances are single syllables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from vgim.data.shards.manifest import Manifest
from vgim.downstream.probes.probe import UtteranceProbe
from vgim.errors import DataError

if TYPE_CHECKING:
    from vgim.data.shards.read import Utterance


class SyllableProbe(UtteranceProbe):
    """A class for each syllable that the corpus declares; utterances of any other syllable are left out."""

    name = "syllable"
    class_parts: ClassVar[Mapping[str, Callable[[str], str]]] = {
        "consonant": lambda syllable: syllable[:-1],
        "vowel": lambda syllable: syllable[-1],
    }

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._syllables = manifest.traits.syllables

    @classmethod
    def find_classes(cls, manifest: Manifest) -> tuple[str, ...]:
        """The classes of the corpus's syllables."""
        syllables = manifest.traits.syllables
        if not syllables:
            form = f" ({manifest.variant})" if manifest.variant else ""
            raise DataError(
                f"--task {cls.name} needs the syllables of Artificial Speech, and these shards hold "
                f"{manifest.corpus_title}{form}; give --shards that "
                "`vgim data prepare artificial-speech --part syllables` wrote"
            )
        return tuple(dict.fromkeys(cls.class_of(syllable) for syllable in syllables))

    def label(self, utterance: Utterance) -> int | None:
        """The class of the syllable in the transcript."""
        syllable = utterance.transcript
        return self.classes.index(self.class_of(syllable)) if syllable in self._syllables else None

    @classmethod
    def class_of(cls, syllable: str) -> str:
        """Name of a syllable's class."""
        return syllable
