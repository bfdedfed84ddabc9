"""Who speaks: the mean over time of a crop's features, one linear map over all speakers."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import Utterance
from vgim.downstream.probes.probe import Examples, mean_over_time
from vgim.errors import DataError


class SpeakerProbe:
    """A class per speaker of the manifest."""

    name: ClassVar[str] = "speaker"
    unit: ClassVar[Literal["frame", "utterance"]] = "utterance"
    crops: ClassVar[bool] = True
    epochs: ClassVar[int] = 50
    learning_rate: ClassVar[float] = 1e-3

    def __init__(self, manifest: Manifest) -> None:
        if len(manifest.speakers) < 2:
            raise DataError(
                f"--task speaker needs two speakers, these {manifest.corpus} shards have "
                f"{len(manifest.speakers)}; choose another task or other --shards"
            )
        self.classes: tuple[str, ...] = manifest.speakers
        self._class_of = {speaker: number for number, speaker in enumerate(manifest.speakers)}

    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """One example."""
        return mean_over_time(features_TC, self._class_of[utterance.speaker_id])
