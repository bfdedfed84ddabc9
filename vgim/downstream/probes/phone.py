"""Which phone is spoken: one linear map per 10 ms of whole utterances."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import Utterance
from vgim.downstream.probes.probe import Examples, align, per_label, whole_labels
from vgim.errors import DataError


class PhoneProbe:
    """A class per phone of the manifest's inventory; utterances without labels are left out."""

    name: ClassVar[str] = "phone"
    unit: ClassVar[Literal["frame", "utterance"]] = "frame"
    crops: ClassVar[bool] = False
    epochs: ClassVar[int] = 20
    learning_rate: ClassVar[float] = 1e-4

    def __init__(self, manifest: Manifest) -> None:
        if manifest.phone_inventory is None:
            raise DataError(
                f"--task phone needs phone labels, and these {manifest.corpus} shards have none; prepare them "
                "with --labels FILE (see docs/data.md)"
            )
        self.classes: tuple[str, ...] = manifest.phone_inventory

    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """An example per label."""
        if utterance.phones is None:
            return None
        labels_N = torch.from_numpy(utterance.phones).long()
        features_NC = per_label(features_TC, hop_samples, whole_labels(len(utterance.audio)))
        return align(features_NC, labels_N)
