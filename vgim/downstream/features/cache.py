"""Features kept on storage: a Parquet file for each spec of each split, named by all that decides its values.

A row is an utterance. A file appears whole or not at all, its pages carry checksums, and a file that does not read is
computed again.

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
from vgim.downstream.features.source import CutClip, FeatureSource, FeatureSpec, stream_features
from vgim.errors import StorageError
from vgim.storage import Location

VERSION = 1
SCHEMA = pa.schema([("utterance_id", pa.string()), ("features", pa.large_binary())])
ROWS_AT_ONCE = 16


class DamagedCacheError(StorageError):
    """A file of kept features does not read, or holds other utterances."""


@dataclass(frozen=True)
class FeatureCache:
    """The kept features of one split."""

    folder: Location
    split: Mapping[str, object]
    """Everything that decides which audio is encoded: shards, split and clip; for JSON."""

    def path(self, source: FeatureSource, spec: FeatureSpec) -> Location:
        """The file for one of a source's specs."""
        key = {
            "version": VERSION,
            "view": spec.view(),
            "min_samples": source.min_samples(),  # decides which utterances are left out
            **source.identity(),
            **self.split,
        }
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        return self.folder.child(f"{digest[:32]}.parquet")

    def is_complete(self, source: FeatureSource) -> bool:
        """Whether there is a file for every spec of a source."""
        return all(self.path(source, spec).exists() for spec in source.specs)

    def delete(self, source: FeatureSource) -> None:
        """Delete the files of a source."""
        for spec in source.specs:
            self.path(source, spec).delete()

    def stream(
        self, source: FeatureSource, utterances: Iterable[Utterance], cut: CutClip
    ) -> Iterator[tuple[Utterance, list[Tensor]]]:
        """Like `stream_features`, but read kept features; features that are not kept are computed and written.

        Raises:
            DamagedCacheError: A file does not read, or holds other utterances.
        """
        if self.is_complete(source):
            return self._read(source, utterances)
        return self._write(source, utterances, cut)

    def _read(
        self, source: FeatureSource, utterances: Iterable[Utterance]
    ) -> Iterator[tuple[Utterance, list[Tensor]]]:
        rows = zip(*(_read_rows(self.path(source, spec), spec) for spec in source.specs), strict=True)
        row = next(rows, None)
        for utterance in utterances:
            if row is not None and row[0][0] == utterance.utterance_id:  # other utterances were left out
                yield utterance, [features_TC for _, features_TC in row]
                row = next(rows, None)
        if row is not None:
            raise DamagedCacheError(
                f"the features kept in {self.folder.uri} are of other utterances (there is no {row[0][0]})"
            )

    def _write(
        self, source: FeatureSource, utterances: Iterable[Utterance], cut: CutClip
    ) -> Iterator[tuple[Utterance, list[Tensor]]]:
        with ExitStack() as stack:
            writers = []
            for spec in source.specs:
                file = stack.enter_context(self.path(source, spec).atomic_output())
                writer = pq.ParquetWriter(file, SCHEMA, compression="none", write_page_checksum=True)
                writers.append(stack.enter_context(writer))
            rows: list[tuple[str, list[Tensor]]] = []
            for utterance, features in stream_features(source, utterances, cut):
                rows.append((utterance.utterance_id, features))
                if len(rows) == ROWS_AT_ONCE:
                    _write_rows(writers, rows)
                    rows = []
                yield utterance, features
            if rows:
                _write_rows(writers, rows)


def _write_rows(writers: list[pq.ParquetWriter], rows: list[tuple[str, list[Tensor]]]) -> None:
    names = [name for name, _ in rows]
    for index, writer in enumerate(writers):
        data = [features[index].float().contiguous().numpy().tobytes() for _, features in rows]
        writer.write_table(pa.table([names, data], schema=SCHEMA))


def _read_rows(path: Location, spec: FeatureSpec) -> Iterator[tuple[str, Tensor]]:
    try:
        with path.open_input() as source:
            file = pq.ParquetFile(source, page_checksum_verification=True)
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    features = np.frombuffer(row["features"], "<f4").reshape(-1, spec.channels)
                    yield row["utterance_id"], torch.from_numpy(features.astype(np.float32))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DamagedCacheError(f"{path.uri} does not read ({' '.join(str(error).split())})") from error
