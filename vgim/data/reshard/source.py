"""A shard folder that another is made of."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from vgim.data.shards.check import check_shards_present
from vgim.data.shards.index import read_index
from vgim.data.shards.manifest import Manifest, SourceShards, read_manifest
from vgim.storage import Location


@dataclass(frozen=True)
class Source:
    """A complete shard folder: its manifest, and its index in the order of the shards."""

    folder: Location
    manifest: Manifest
    index: pa.Table

    @property
    def facts(self) -> SourceShards:
        """What the manifest of the new folder says of this one."""
        return SourceShards(
            shards=self.folder.uri,
            fingerprint=self.manifest.fingerprint,
            corpus=self.manifest.corpus,
            utterances=self.manifest.num_utterances,
            options=self.manifest.options,
        )

    @property
    def identity(self) -> str:
        """What the new folder depends on: shards and labels."""
        inventory = self.manifest.phone_inventory
        return f"{self.manifest.fingerprint} {self.manifest.labels_digest} {inventory}"


def open_source(folder: Location) -> Source:
    """Read manifest and index of a shard folder, and look whether every shard is there with its size.

    Raises:
        DataError: The folder is missing, incomplete or damaged.
        StorageError: The storage cannot be read.
    """
    manifest = read_manifest(folder)
    check_shards_present(folder, manifest)
    return Source(folder, manifest, read_index(folder, manifest))
