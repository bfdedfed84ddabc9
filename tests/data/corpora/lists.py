"""Lists of recordings as JSON lines, and the rows of shards that were made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def jsonl(values: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def rows(shards: Path) -> dict[str, Mapping[str, Any]]:
    found = {}
    for file in shards.rglob("*/*.parquet"):
        found |= {row["utterance_id"]: row for row in pq.read_table(file).to_pylist()}
    return found
