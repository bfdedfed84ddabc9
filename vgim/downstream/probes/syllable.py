"""Which of Artificial Speech's nine syllables: the mean over time of the utterance's features, one linear map."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import Utterance
from vgim.downstream.probes.probe import Examples, mean_over_time
from vgim.errors import DataError

SYLLABLES = ("ba", "bi", "bu", "da", "di", "du", "ga", "gi", "gu")


def check_syllables(task: str, manifest: Manifest) -> None:
    """DataError unless the shards hold Artificial Speech's syllables."""
    if manifest.corpus != "artificial-speech" or manifest.options.get("part") != "syllables":
        words = manifest.corpus == "artificial-speech"
        found = "its words" if words else f"the corpus {manifest.corpus}"
        raise DataError(
            f"--task {task} needs the syllables of Artificial Speech, and these shards hold {found}; give --shards "
            "that `vgim data prepare artificial-speech --part syllables` wrote"
        )


class SyllableProbe:
    """A class per syllable."""

    name: ClassVar[str] = "syllable"
    unit: ClassVar[Literal["frame", "utterance"]] = "utterance"
    crops: ClassVar[bool] = False
    epochs: ClassVar[int] = 50
    learning_rate: ClassVar[float] = 1e-3
    inventory: ClassVar[tuple[str, ...]] = SYLLABLES

    def __init__(self, manifest: Manifest) -> None:
        check_syllables(self.name, manifest)
        self.classes: tuple[str, ...] = self.inventory

    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """One example; none for a syllable that is not one of the nine."""
        if utterance.transcript not in SYLLABLES:
            return None
        return mean_over_time(features_TC, self.classes.index(self.label_of(utterance.transcript)))

    def label_of(self, syllable: str) -> str:
        """Its class."""
        return syllable
