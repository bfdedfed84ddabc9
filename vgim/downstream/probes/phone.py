"""Which phone is spoken in each 10 ms of a whole utterance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vgim.data.corpora.phone_labels import Phones
from vgim.data.shards.manifest import Manifest
from vgim.downstream.probes.probe import FrameProbe
from vgim.errors import DataError

if TYPE_CHECKING:
    from vgim.data.shards.read import Utterance


class PhoneProbe(FrameProbe):
    """A class for each phone of the manifest's inventory; utterances without phone labels are left out."""

    name = "phone"

    @classmethod
    def find_classes(cls, manifest: Manifest) -> tuple[str, ...]:
        """The phones of the inventory."""
        if manifest.phone_inventory is None:
            raise DataError(
                f"--task {cls.name} needs phone labels, and these {manifest.corpus} shards have none; prepare them "
                "with --labels FILE (see docs/data.md)"
            )
        return tuple(manifest.phone_inventory)

    def labels(self, utterance: Utterance) -> Phones | None:
        """The phone of every 10 ms."""
        return utterance.phones
