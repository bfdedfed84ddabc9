"""What a test does to a shard folder: other rows, fewer splits, and the folder as an earlier version wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vgim.data.shards.file_entry import file_entry
from vgim.data.shards.manifest import SplitSummary, fingerprint, read_manifest, write_manifest
from vgim.storage import Location


def as_before_hashes(shards: Path) -> None:
    """Remove what folders of earlier versions lack: `manifest.sha256`, and the index in the manifest."""
    content = json.loads((shards / "manifest.json").read_text())
    del content["index"]
    (shards / "manifest.json").write_text(json.dumps(content))
    (shards / "manifest.sha256").unlink()


def change_index(shards: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Rewrite `index.parquet` with other rows or columns."""
    path = shards / "index.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def drop_split(shards: Path, split: str) -> None:
    """Leave a split out of index and manifest."""
    change_index(shards, lambda table: table.filter(pc.not_equal(table["split"], split)))
    manifest = read_manifest(shards)
    splits = {**manifest.splits, split: SplitSummary()}
    shards_left = [shard for summary in splits.values() for shard in summary.shards]
    update = {
        "splits": splits,
        "fingerprint": fingerprint(shards_left),
        "index": file_entry((shards / "index.parquet").read_bytes()),
    }
    write_manifest(Location(shards), manifest.model_copy(update=update))
