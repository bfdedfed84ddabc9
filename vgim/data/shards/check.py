"""Check a shard folder against its manifest: cheaply before a command reads it, or by hashing every file."""

from __future__ import annotations

import hashlib
import os

from vgim.data.shards.alignment import ALIGNMENT_NAME
from vgim.data.shards.file_entry import FileEntry
from vgim.data.shards.index import check_index
from vgim.data.shards.manifest import INDEX_NAME, Manifest, ShardEntry, read_manifest
from vgim.errors import DataError
from vgim.progress import SILENT, Progress, track
from vgim.storage import COPY_CHUNK_BYTES, Location

_REMEDY = "copy the folder again, or remove it and run `vgim data prepare`"


def check_shards_present(uri: str | os.PathLike[str] | Location, manifest: Manifest) -> None:
    """Check that every shard is there with its size, and that the index is the manifest's. No shard is read.

    Raises:
        DataError: A file is missing or has another size, or the index is damaged.
        StorageError: The storage cannot be read.
    """
    folder = Location(uri)
    problems = list(_problems_by_size(folder, manifest).values())
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(f"the shards in {uri} are not whole: {problems[0]}{more}; {_REMEDY}")
    check_index(folder, manifest)


def verify(uri: str | os.PathLike[str] | Location, progress: Progress = SILENT) -> list[str]:
    """Hash every file of a shard folder; a sentence for each that is missing or damaged.

    Args:
        uri: The shard folder.
        progress: Where to report how many shards are hashed.

    Raises:
        DataError: The manifest is missing, incomplete or damaged.
        StorageError: The storage cannot be read.
    """
    folder = Location(uri)
    manifest = read_manifest(folder)
    by_size = _problems_by_size(folder, manifest)
    problems = list(by_size.values())
    if INDEX_NAME not in by_size:
        try:
            check_index(folder, manifest)
        except DataError as error:
            problems.append(str(error).partition(";")[0].removeprefix(f"{folder}/"))
    for shard in track(progress, _shards(manifest), "hashing shards", "shard"):
        if shard.path not in by_size and _sha256(folder.child(shard.path)) != shard.sha256:
            problems.append(f"{shard.path} is damaged (its SHA-256 is not the manifest's)")
    for split in manifest.splits:
        for path, entry in _labels(manifest, split).items():
            if path not in by_size and _sha256(folder.child(path)) != entry.sha256:
                problems.append(f"{path} is damaged (its SHA-256 is not that of {ALIGNMENT_NAME})")
    return problems


def _labels(manifest: Manifest, split: str) -> dict[str, FileEntry]:
    """Path → entry of the labels that were added to a split's shards."""
    files = manifest.alignment.files if manifest.alignment is not None else {}
    return {path: entry for path, entry in files.items() if path.startswith(f"{split}/")}


def _shards(manifest: Manifest) -> list[ShardEntry]:
    return [shard for split in manifest.splits.values() for shard in split.shards]


def _problems_by_size(folder: Location, manifest: Manifest) -> dict[str, str]:
    """Path → a sentence, for each shard that is missing or has another size than in the manifest, and the index."""
    problems = {}
    for name, split in manifest.splits.items():
        sizes = dict(folder.child(name).list_files())
        for shard in split.shards:
            size = sizes.get(shard.path.rpartition("/")[2])
            if size is None:
                problems[shard.path] = f"{shard.path} is missing"
            elif size != shard.bytes:
                problems[shard.path] = f"{shard.path} has {size} bytes, expected {shard.bytes}"
        for path, entry in _labels(manifest, name).items():
            size = sizes.get(path.rpartition("/")[2])
            if size != entry.bytes:
                found = "is missing" if size is None else f"has {size} bytes, expected {entry.bytes}"
                problems[path] = f"{path} {found}; run `vgim data align` again"
    if not folder.child(INDEX_NAME).exists():
        problems[INDEX_NAME] = f"{INDEX_NAME} is missing"
    return problems


def _sha256(file: Location) -> str:
    digest = hashlib.sha256()
    with file.open_input() as stream:
        while chunk := stream.read(COPY_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
