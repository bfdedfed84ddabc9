"""Frozen features kept on storage: a Parquet file for each view of each split, named by all that shapes its numbers.

A row is an utterance. Files appear whole or not at all, pages carry checksums, and what does not read is made anew.

Shapes: T frames, C channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vgim.data.shards.read import Utterance
from vgim.downstream.features.features import CutClip, FeatureSource, View, stream_features
from vgim.errors import StorageError
from vgim.storage import Location

VERSION = 1
SCHEMA = pa.schema([("utterance_id", pa.string()), ("features", pa.large_binary())])
ROWS_AT_ONCE = 16


class DamagedCacheError(StorageError):
    """A kept file does not read, or not as the features of these utterances."""


@dataclass(frozen=True)
class FeatureCache:
    """The kept features of one split, from one source."""

    folder: Location
    split: Mapping[str, object]
    """What of the audio is encoded: shards, split, clip."""

    def place(self, source: FeatureSource, view: View) -> Location:
        """The file of a view."""
        key = {
            "version": VERSION,
            "view": view._asdict(),
            "min_samples": source.min_samples(),  # which decides what is left out
            **source.identity(),
            **self.split,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder.child(f"{digest[:32]}.parquet")

    def holds(self, source: FeatureSource) -> bool:
        """Whether the features of every view are kept."""
        return all(self.place(source, view).exists() for view in source.views)

    def drop(self, source: FeatureSource) -> None:
        """Delete what is kept of every view."""
        for view in source.views:
            self.place(source, view).delete()

    def stream(
        self, source: FeatureSource, utterances: Iterable[Utterance], clip: CutClip
    ) -> Iterator[tuple[Utterance, list[Tensor]]]:
        """As `stream_features`: read where all is kept, else computed and kept.

        Raises:
            DamagedCacheError: What is kept cannot be used.
        """
        return self._read(source, utterances) if self.holds(source) else self._write(source, utterances, clip)

    def _read(
        self, source: FeatureSource, utterances: Iterable[Utterance]
    ) -> Iterator[tuple[Utterance, list[Tensor]]]:
        rows = [_rows(self.place(source, view), view) for view in source.views]
        waiting = zip(*rows, strict=True)
        found = next(waiting, None)
        for utterance in utterances:
            if found is not None and found[0][0] == utterance.utterance_id:  # others were left out
                yield utterance, [features_TC for _, features_TC in found]
                found = next(waiting, None)
        if found is not None:
            raise DamagedCacheError(
                f"the features kept in {self.folder.uri} are of other utterances (there is no {found[0][0]})"
            )

    def _write(
        self, source: FeatureSource, utterances: Iterable[Utterance], clip: CutClip
    ) -> Iterator[tuple[Utterance, list[Tensor]]]:
        with ExitStack() as stack:
            writers = []
            for view in source.views:
                file = stack.enter_context(self.place(source, view).atomic_output())
                writer = pq.ParquetWriter(file, SCHEMA, compression="none", write_page_checksum=True)
                writers.append(stack.enter_context(writer))
            held: list[tuple[str, list[Tensor]]] = []
            for utterance, features in stream_features(source, utterances, clip):
                held.append((utterance.utterance_id, features))
                if len(held) == ROWS_AT_ONCE:
                    _write_rows(writers, held)
                    held = []
                yield utterance, features
            if held:
                _write_rows(writers, held)


def _write_rows(writers: list[pq.ParquetWriter], held: list[tuple[str, list[Tensor]]]) -> None:
    names = [name for name, _ in held]
    for number, writer in enumerate(writers):
        data = [features[number].float().contiguous().numpy().tobytes() for _, features in held]
        writer.write_table(pa.table([names, data], schema=SCHEMA))


def _rows(place: Location, view: View) -> Iterator[tuple[str, Tensor]]:
    try:
        with place.open_input() as source:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    features = np.frombuffer(row["features"], "<f4").reshape(-1, view.channels)
                    yield row["utterance_id"], torch.from_numpy(features.astype(np.float32))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedCacheError(f"{place.uri} does not read ({' '.join(str(error).split())})") from error
