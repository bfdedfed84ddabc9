"""How often each phone is spoken in a shard folder, and how long: of labels in the shards or beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vgim.data.pcm import HOP_SAMPLES, SAMPLE_RATE_HZ
from vgim.data.shards.manifest import Manifest
from vgim.data.shards.read import other_content, read_row_group, shard_footer
from vgim.errors import DataError
from vgim.progress import SILENT, Progress, track
from vgim.storage import Location


@dataclass(frozen=True)
class PhoneCounts:
    """Counts over all splits; K phone classes."""

    inventory: tuple[str, ...]
    frames_K: npt.NDArray[np.int64]
    """Labels of 10 ms of each class."""
    segments_K: npt.NDArray[np.int64]
    """Stretches of equal labels of each class."""
    num_labeled: int
    """Utterances with labels."""
    num_utterances: int

    @property
    def mean_ms(self) -> npt.NDArray[np.float64]:
        """Mean length of a stretch of each class, [K], in milliseconds; 0 for a class that is not there."""
        hop_ms = 1000 * HOP_SAMPLES / SAMPLE_RATE_HZ
        return hop_ms * self.frames_K / np.maximum(self.segments_K, 1)

    def to_json(self) -> dict[str, dict[str, int]]:
        """Phone → its class, labels of 10 ms, and stretches."""
        rows = zip(self.inventory, self.frames_K.tolist(), self.segments_K.tolist(), strict=True)
        return {
            name: {"class": number, "frames": frames, "stretches": stretches}
            for number, (name, frames, stretches) in enumerate(rows)
        }


def count_phones(folder: Location, manifest: Manifest, progress: Progress = SILENT) -> PhoneCounts:
    """Read all phone labels of a shard folder, and no audio.

    Raises:
        DataError: The shards have no labels, or a file is missing or damaged.
    """
    if manifest.phone_inventory is None:
        raise DataError(
            f"{folder} has no phone labels; `vgim data align {folder}` makes them from transcripts"
        )
    num_classes = len(manifest.phone_inventory)
    frames_K, segments_K = np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    num_labeled = num_utterances = 0
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    for shard in track(progress, shards, "reading labels", "shard"):
        path = folder.child(manifest.phones_of(shard) or shard.path).uri
        for row_group in range(shard_footer(path).num_row_groups):
            column = read_row_group(path, row_group, ("phones",))["phones"].combine_chunks()
            num_utterances += len(column)
            num_labeled += len(column) - column.null_count
            frames, segments = _counts(column, num_classes, path)
            frames_K += frames
            segments_K += segments
    return PhoneCounts(manifest.phone_inventory, frames_K, segments_K, num_labeled, num_utterances)


def _counts(
    column: pa.ListArray, num_classes: int, path: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    labels_N = np.asarray(column.flatten())
    if not len(labels_N):
        return np.zeros(num_classes, np.int64), np.zeros(num_classes, np.int64)
    if labels_N.min() < 0 or labels_N.max() >= num_classes:
        raise other_content(path)
    begins_N = np.append(True, labels_N[1:] != labels_N[:-1])
    lengths = np.asarray(column.drop_null().value_lengths())
    firsts = np.cumsum(lengths) - lengths
    begins_N[firsts[lengths > 0]] = True
    return (
        np.bincount(labels_N, minlength=num_classes),
        np.bincount(labels_N[begins_N], minlength=num_classes),
    )
