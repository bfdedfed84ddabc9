"""Where the shards of several folders stand in one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vgim.data.reshard.source import Source
from vgim.data.shards.manifest import SPLITS, ShardEntry
from vgim.data.shards.splits import hash_order


@dataclass(frozen=True)
class Place:
    """A shard of a folder, and its path in the joined one."""

    source: int
    """Number of the folder."""
    entry: ShardEntry
    """The shard in its folder."""
    path: str
    """Path in the joined folder."""


def place_shards(sources: Sequence[Source]) -> list[Place]:
    """Order the shards of all folders by the hash of their first utterance.

    It is the order in which a preparation puts them. So the order depends on the shards alone: not on the order of the
    folders, nor on the steps in which they are joined.
    """
    seeds = {source.manifest.options.get("seed") for source in sources}
    seed = next(iter(seeds)) if len(seeds) == 1 else 0
    seed = seed if isinstance(seed, int) else 0
    firsts = [_first_utterances(source) for source in sources]
    places = []
    for split in SPLITS:
        found = [
            (_key(firsts[number].get((split, number_of(entry.path))), entry, seed), number, entry)
            for number, source in enumerate(sources)
            for entry in source.manifest.split(split).shards
        ]
        for number, (_, source_number, entry) in enumerate(sorted(found, key=lambda item: item[0])):
            places.append(Place(source_number, entry, f"{split}/{number:05d}.parquet"))
    return places


def number_of(path: str) -> int:
    """Number of a shard: `train/00003.parquet` → 3."""
    return int(path.rpartition("/")[2].partition(".")[0])


def _key(first_utterance: str | None, entry: ShardEntry, seed: int) -> tuple[bytes, str]:
    return b"" if first_utterance is None else hash_order(first_utterance, seed), entry.sha256


def _first_utterances(source: Source) -> dict[tuple[str, int], str]:
    """Split and number of a shard → its first utterance."""
    index = source.index
    first = (index["row_group"].to_numpy() == 0) & (index["row"].to_numpy() == 0)
    rows = index.filter(pa.array(first))
    keys = zip(rows["split"].to_pylist(), rows["shard"].to_pylist(), strict=True)
    return dict(zip(keys, rows["utterance_id"].to_pylist(), strict=True))


def joined_index(sources: Sequence[Source], places: Sequence[Place]) -> pa.Table:
    """The index of the joined folder, ordered by split, shard, row group and row."""
    numbers: list[dict[tuple[str, int], int]] = [{} for _ in sources]
    for place in places:
        split, old = place.entry.path.partition("/")[0], number_of(place.entry.path)
        numbers[place.source][split, old] = number_of(place.path)
    tables = []
    for source, new in zip(sources, numbers, strict=True):
        index = source.index.replace_schema_metadata(None)
        keys = zip(index["split"].to_pylist(), index["shard"].to_pylist(), strict=True)
        shard = pa.array([new[key] for key in keys], pa.int32())
        tables.append(index.set_column(index.schema.get_field_index("shard"), "shard", shard))
    table = pa.concat_tables(tables, promote_options="default")
    split_numbers = np.array([SPLITS.index(name) for name in table["split"].to_pylist()], np.int64)
    columns = [table[name].to_numpy() for name in ("row", "row_group", "shard")]
    return table.take(pa.array(np.lexsort((*columns, split_numbers))))


def in_several_splits(index: pa.Table, recording_of: dict[str, str]) -> list[str]:
    """Recordings of which utterances are in several splits, sorted."""
    pairs = set(
        zip(
            (recording_of[name] for name in index["utterance_id"].to_pylist()),
            index["split"].to_pylist(),
            strict=True,
        )
    )
    counts = Counter(recording for recording, _ in pairs)
    return sorted(recording for recording, count in counts.items() if count > 1)
