"""The utterances of a split as a map-style torch dataset, for a DataLoader of any kind.

Shapes: B utterances, L samples, N labels of 10 ms.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from vgim.data.pcm import PCM16_SCALE, SAMPLE_RATE_HZ
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.index import read_split
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.data.shards.read import Utterance, other_content, read_row_group_utterances
from vgim.errors import DataError
from vgim.storage import Location

GROUPS_IN_MEMORY = 4
"""Row groups that a process keeps: utterances that follow each other are read together."""
NO_LABEL = -1
"""Phone class of 10 ms that have no label, and of padding; `ignore_index` of a cross-entropy."""

Place = tuple[int, int, int]
"""Number of a shard, of a row group in it, and of a row in that."""


class Item(TypedDict):
    """An utterance."""

    audio: Tensor
    """[L], float32 in [-1, 1], 16 kHz mono."""
    phones: Tensor
    """Class of every 10 ms, int64 [N]; empty without labels."""
    speaker: int
    """Index of the speaker in `ShardDataset.speakers`."""
    utterance_id: str
    speaker_id: str
    transcript: str


class Batch(TypedDict):
    """Utterances that are padded behind."""

    audio: Tensor
    """[B, L], float32; 0 behind each utterance."""
    lengths: Tensor
    """Samples of each utterance, int64 [B]."""
    phones: Tensor
    """[B, N], int64; NO_LABEL where there is no label."""
    speaker: Tensor
    """[B], int64."""
    utterance_id: list[str]
    speaker_id: list[str]
    transcript: list[str]


class ShardDataset(Dataset[Item]):
    """Utterances of a split, in the order of the shards, with random access.

    It may be pickled, and read by any number of worker processes: it holds where the shards are, and each process opens
    them for itself. Utterances that lie in one row group are read together, so that reading in order is fastest.

    Args:
        shards: The shard folder.
        split: `train`, `validation` or `test`.

    Attributes:
        manifest: Manifest of the shards.
        split: The split.
        utterance_ids: Id of each utterance.
        num_samples: Length of each utterance in samples.
        sample_rate: Sample rate in Hz.

    Raises:
        DataError: The folder, its index or a shard is missing or damaged, or the split is empty.
    """

    sample_rate: int = SAMPLE_RATE_HZ

    def __init__(self, shards: Location, split: str) -> None:
        self.manifest: Manifest = read_manifest(shards)
        self.split = split
        summary = self.manifest.split(split)
        if not summary.utterances:
            raise DataError(f"{shards.uri} has no {split} split; prepare it again with a fraction above 0")
        check_shards_present(shards, self.manifest)
        place = ("shard", "row_group", "row")
        rows = read_split(shards, self.manifest, split, ("utterance_id", "num_samples", *place))
        columns = (rows[name].to_pylist() for name in place)
        self._places: list[Place] = list(zip(*columns, strict=True))
        self._paths = {_number(shard.path): shards.child(shard.path).uri for shard in summary.shards}
        self._labels = {
            _number(shard.path): shards.child(labels).uri
            for shard in summary.shards
            if (labels := self.manifest.phones_of(shard)) is not None
        }
        self.utterance_ids: list[str] = rows["utterance_id"].to_pylist()
        self.num_samples: list[int] = rows["num_samples"].to_pylist()
        self._speaker_index = {speaker: index for index, speaker in enumerate(self.manifest.speakers)}
        self._groups: OrderedDict[tuple[int, int], list[Utterance]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<{len(self):,} utterances of the {self.split} split of {self.manifest.corpus}>"

    @property
    def speakers(self) -> tuple[str, ...]:
        """Ids of all speakers of the shards, sorted; of every split."""
        return self.manifest.speakers

    @property
    def phone_inventory(self) -> tuple[str, ...] | None:
        """Name of each phone class; None if the shards have no phone labels."""
        return self.manifest.phone_inventory

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Item:
        """The utterance at an index, negative from the last.

        Raises:
            DataError: The shard is missing or damaged.
            IndexError: There is no such utterance.
            TypeError: The index is no whole number.
        """
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"index {index!r} is of the type {type(index).__name__}; give one whole number, or take "
                "several with torch.utils.data.Subset"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"index {number}, but the {self.split} split has {len(self)} utterances")
        shard, group, row = self._places[number]
        utterance = self._group(shard, group)[row]
        if utterance.utterance_id != self.utterance_ids[number]:
            raise other_content(self._paths[shard])
        phones = utterance.phones
        return Item(
            audio=torch.from_numpy(utterance.audio).float() / PCM16_SCALE,
            phones=torch.empty(0, dtype=torch.int64) if phones is None else torch.from_numpy(phones).long(),
            speaker=self._speaker_index[utterance.speaker_id],
            utterance_id=utterance.utterance_id,
            speaker_id=utterance.speaker_id,
            transcript=utterance.transcript,
        )

    @staticmethod
    def collate(items: Sequence[Item]) -> Batch:
        """Pad utterances to one length: the `collate_fn` of a DataLoader, whose batches an encoder takes.

        Raises:
            ValueError: There are no utterances.
        """
        if not items:
            raise ValueError("a batch of no utterances cannot be padded; give at least one")
        return Batch(
            audio=pad_sequence([item["audio"] for item in items], batch_first=True),
            lengths=torch.tensor([len(item["audio"]) for item in items]),
            phones=pad_sequence([item["phones"] for item in items], batch_first=True, padding_value=NO_LABEL),
            speaker=torch.tensor([item["speaker"] for item in items]),
            utterance_id=[item["utterance_id"] for item in items],
            speaker_id=[item["speaker_id"] for item in items],
            transcript=[item["transcript"] for item in items],
        )

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the audio in memory."""
        return {**self.__dict__, "_groups": OrderedDict()}

    def _group(self, shard: int, group: int) -> list[Utterance]:
        found = self._groups.pop((shard, group), None)
        if found is None:
            found = list(
                read_row_group_utterances(
                    self._paths[shard], group, self.manifest.codec, self._labels.get(shard)
                )
            )
            if len(self._groups) >= GROUPS_IN_MEMORY:
                self._groups.popitem(last=False)
        self._groups[shard, group] = found
        return found


def _number(path: str) -> int:
    """Number of a shard: `train/00003.parquet` → 3."""
    return int(path.rpartition("/")[2].partition(".")[0])
