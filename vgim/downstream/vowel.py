"""Which vowel an Artificial Speech syllable ends in: the mean over time of its features, one linear map."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from vgim.data.manifest import Manifest
from vgim.data.utterances import Utterance
from vgim.downstream.probe import Examples, mean_over_time
from vgim.downstream.syllable import SYLLABLES, check_syllables

VOWELS = ("a", "i", "u")


class VowelProbe:
    """A class per vowel."""

    name: ClassVar[str] = "vowel"
    unit: ClassVar[Literal["frame", "utterance"]] = "utterance"
    crops: ClassVar[bool] = False
    epochs: ClassVar[int] = 50
    learning_rate: ClassVar[float] = 1e-3

    def __init__(self, manifest: Manifest) -> None:
        check_syllables(self.name, manifest)
        self.classes: tuple[str, ...] = VOWELS

    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """One example; none for a syllable that is not one of the nine."""
        if utterance.transcript not in SYLLABLES:
            return None
        return mean_over_time(features_TC, VOWELS.index(utterance.transcript[-1]))
