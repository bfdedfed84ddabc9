"""Phone labels beside a shard: `train/00000.phones.parquet` has the rows and row groups of `train/00000.parquet`.

Labels that were made after the shards are kept apart, so that the shards and their fingerprint stay as they are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from vgim.data.corpora.phone_labels import Phones

SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("phones", pa.list_(pa.int16())),
        ("problem", pa.string()),
    ]
)
_FACTS = b"vgim"


@dataclass(frozen=True)
class PhoneRow:
    """The labels of an utterance."""

    utterance_id: str
    phones: Phones | None
    """Class per 10 ms, [num_frames]; None where there are none."""
    problem: str = ""
    """Why there are none."""


def phone_bytes(groups: Iterable[Sequence[PhoneRow]], facts: Mapping[str, str]) -> bytes:
    """The content of a file of labels.

    Args:
        groups: The rows of each row group, as in the shard.
        facts: What the labels were made from, which `read_facts` returns.
    """
    schema = SCHEMA.with_metadata({_FACTS: json.dumps(dict(facts), sort_keys=True)})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for rows in groups:
            columns = [
                [row.utterance_id for row in rows],
                [row.phones for row in rows],
                [row.problem for row in rows],
            ]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=max(len(rows), 1))
    return sink.getvalue()


def read_facts(data: bytes) -> dict[str, str] | None:
    """What a file of labels was made from, by its content; None if that is damaged."""
    try:
        metadata = pq.read_schema(pa.BufferReader(data)).metadata or {}
        return dict(json.loads(metadata[_FACTS]))
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError):
        return None


def read_problems(data: bytes) -> tuple[int, dict[str, str]]:
    """The number of utterances with labels in a file, and utterance id → why it has none, for the others."""
    table = pq.read_table(pa.BufferReader(data), columns=["utterance_id", "problem"])
    rows = zip(*(table[name].to_pylist() for name in ("utterance_id", "problem")), strict=True)
    problems = {name: problem for name, problem in rows if problem}
    return table.num_rows - len(problems), problems
