"""Who speaks in a crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgim.data.shards.manifest import Manifest
from vgim.downstream.probes.probe import UtteranceProbe
from vgim.errors import DataError

if TYPE_CHECKING:
    from vgim.data.shards.read import Utterance


class SpeakerProbe(UtteranceProbe):
    """A class for each speaker of the manifest."""

    name = "speaker"
    uses_crops = True

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self._class_of = {speaker: index for index, speaker in enumerate(self.classes)}

    @classmethod
    def find_classes(cls, manifest: Manifest) -> tuple[str, ...]:
        """The speakers' ids."""
        if len(manifest.speakers) < 2:
            raise DataError(
                f"--task speaker needs two speakers, these {manifest.corpus} shards have "
                f"{len(manifest.speakers)}; choose another task or other --shards"
            )
        return tuple(manifest.speakers)

    def problem_of_splits(self, manifest: Manifest) -> str | None:
        """Whether each speaker is in one split alone."""
        in_splits = sum(split.speakers for split in manifest.splits.values())
        if not manifest.splits["test"].speakers or in_splits > len(manifest.speakers):
            return None
        return (
            "--task speaker, but no speaker of these shards is in two splits, so that those of test cannot be learned "
            "on train; choose another task, or --shards that `vgim data split` made without lists and without "
            "--disjoint-speakers"
        )

    def label(self, utterance: Utterance) -> int | None:
        """The utterance's speaker."""
        return self._class_of[utterance.speaker_id]
