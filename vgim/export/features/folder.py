"""A folder of features: what it holds, whether it is whole, and what may be written into it.

DIR/  module-M/ID.npy, or module-M/PART.parquet  index.parquet  features.json
      .features/   while features are written: the plan, and a record of each finished part

`features.json` is written last, so that a folder that has it is whole.
"""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vgim.claims.record import CLAIMS
from vgim.errors import ConfigError, StorageError
from vgim.export.features.part import PROGRESS_DIR, SkippedRow
from vgim.runs.masked import MaskedText
from vgim.storage import Location
from vgim.text import first_few

RECORD, INDEX = "features.json", "index.parquet"


class FeaturesRecord(BaseModel):
    """The content of `features.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schema_version: Literal[1] = 1
    identity: str
    """Hash of all that decides the features: weights, modules, kind, seed, form, corpus."""
    run: MaskedText
    checkpoint: MaskedText
    step: int
    corpus: MaskedText
    modules: tuple[int, ...]
    kind: str
    form: str
    seed: int
    num_utterances: int
    """Utterances that have features."""
    num_frames: dict[int, int]
    """Frames of all utterances, by module."""
    skipped: tuple[SkippedRow, ...]
    created: str
    versions: dict[str, str]
    git_revision: str


def check_out(folder: Location) -> None:
    """Refuse a folder that holds anything else than features.

    Raises:
        StorageError: The folder holds other files, or is a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StorageError(f"--out {folder.uri} is a file; choose a folder")
    others = [name for name in folder.list() if name != CLAIMS]
    if others and not {RECORD, PROGRESS_DIR} & set(others):
        raise StorageError(
            f"--out {folder.uri} holds other files ({first_few(others)}) and no features; choose an empty or new folder"
        )


def identity_there(folder: Location) -> str | None:
    """Identity of the features in a folder, whole or begun; empty if it does not read, None if there are none."""
    record, plan = folder.child(RECORD), folder.child(PROGRESS_DIR, "plan.json")
    try:
        if record.exists():
            return FeaturesRecord.model_validate_json(record.read_bytes()).identity
        if plan.exists():
            return str(json.loads(plan.read_bytes())["identity"])
    except (ValueError, TypeError, LookupError, RecursionError):  # pydantic's error is a ValueError
        return ""
    return None


def begin(folder: Location, identity: str) -> FeaturesRecord | None:
    """Mark a folder as being written.

    Args:
        folder: The folder of features.
        identity: Identity of the features that are to be written.

    Returns:
        The record of a folder that is whole already; None for one that is not.

    Raises:
        ConfigError: The folder holds other features.
        StorageError: The folder's record is damaged.
    """
    there = identity_there(folder)
    if there == "":
        raise StorageError(
            f"{folder.uri} holds features whose record is damaged; --overwrite writes them again"
        )
    if there not in (None, identity):
        raise ConfigError(
            f"{folder.uri} holds features of another encoder, corpus or options; choose another --out, or --overwrite "
            "to delete them"
        )
    record = folder.child(RECORD)
    if record.exists():
        folder.child(PROGRESS_DIR).delete()
        return FeaturesRecord.model_validate_json(record.read_bytes())
    if there is None:
        plan = folder.child(PROGRESS_DIR, "plan.json")
        plan.write_bytes_atomic(json.dumps({"identity": identity}).encode())
    return None


def clear(folder: Location) -> None:
    """Delete the features of a folder, so that at no time a part of them looks whole."""
    folder.child(RECORD).delete()
    folder.child(INDEX).delete()
    for name in folder.list():
        if name.startswith("module-"):
            folder.child(name).delete()
    folder.child(PROGRESS_DIR).delete()
