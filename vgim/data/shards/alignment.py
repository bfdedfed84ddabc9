"""`alignment.json`: what `vgim data align` added to a shard folder, beside the manifest, which stays as it is."""

from __future__ import annotations

import hashlib

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.data.shards.file_entry import FileEntry
from vgim.errors import DataError
from vgim.sealed_json import SealBroken, dump_sealed, load_sealed
from vgim.storage import Location
from vgim.text import first_problem

ALIGNMENT_NAME = "alignment.json"
OF_PREPARATION = "labels of the preparation"


class Alignment(BaseModel):
    """Phone labels that were made after the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    fingerprint: str
    """The shards that they belong to."""
    aligner: str
    """Name, version and model."""
    dictionary: str
    """SHA-256 of the user's dictionary; empty without one."""
    inventory: tuple[str, ...]
    """Name of each phone class."""
    files: dict[str, FileEntry]
    """Path of each file of labels, such as `train/00000.phones.parquet`."""
    unaligned: dict[str, str] = {}
    """Utterance id → why it has no labels."""

    @property
    def digest(self) -> str:
        """SHA-256 over the hashes of all labels."""
        hashes = "".join(sorted(file.sha256 for file in self.files.values()))
        return hashlib.sha256(hashes.encode()).hexdigest()


def phone_path(shard: str) -> str:
    """The file of the labels of a shard, such as `train/00000.phones.parquet`."""
    return f"{shard.removesuffix('.parquet')}.phones.parquet"


def read_alignment(folder: Location, fingerprint: str) -> Alignment | None:
    """The alignment of a shard folder; None if there is none, or it is of other shards.

    Raises:
        DataError: The file is damaged.
        StorageError: The storage cannot be read.
    """
    file = folder.child(ALIGNMENT_NAME)
    if not file.exists():
        return None
    try:
        content, is_sealed = load_sealed(file.read_bytes())
        if not is_sealed:
            raise SealBroken("it has no checksum")
        alignment = Alignment.model_validate(content)
    except (SealBroken, ValidationError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"{file} is damaged ({reason}); remove it, and run `vgim data align {folder}` again"
        ) from error
    return alignment if alignment.fingerprint == fingerprint else None


def write_alignment(folder: Location, alignment: Alignment) -> None:
    """Write the file, whole or not at all."""
    folder.child(ALIGNMENT_NAME).write_bytes_atomic(dump_sealed(alignment.model_dump(mode="json")))
