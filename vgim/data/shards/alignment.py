"""`alignment.json`: what `vgim data align` added to a shard folder, beside the manifest, which stays as it is."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import first_problem

ALIGNMENT_NAME = "alignment.json"


class LabelFile(BaseModel):
    """Size and hash of the labels of a shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Alignment(BaseModel):
    """Phone labels that were made after the shards."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    """The shards that they belong to."""
    aligner: str
    """Name, version and model."""
    dictionary: str
    """SHA-256 of the user's dictionary; empty without one."""
    inventory: tuple[str, ...]
    """Name of each phone class."""
    files: dict[str, LabelFile]
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
        sealed = json.loads(file.read_bytes())
        content = sealed["content"]
        if sealed["sha256"] != _sha256(content):
            raise ValueError("its SHA-256 is not its content's")
        alignment = Alignment.model_validate(content)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        reason = first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"{file} is damaged ({reason}); remove it, and run `vgim data align {folder}` again"
        ) from error
    return alignment if alignment.fingerprint == fingerprint else None


def write_alignment(folder: Location, alignment: Alignment) -> None:
    """Write the file, whole or not at all."""
    content = alignment.model_dump(mode="json")
    sealed = {"content": content, "sha256": _sha256(content)}
    folder.child(ALIGNMENT_NAME).write_bytes_atomic((json.dumps(sealed, indent=1) + "\n").encode())


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
