"""A folder of features: what it holds, whether it is whole, and what may be written into it.

DIR/  module-M/ID.npy, or module-M/PART.parquet  index.parquet  features.json
      .features/   while features are written: the plan, and a record of each finished part

`features.json` is written last, so that a folder that has it is whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.claims.record import CLAIMS
from vgim.errors import ConfigError, StorageError, VgimError
from vgim.export.features.corpus import Part
from vgim.export.features.part import PROGRESS_DIR, PartRecord, SkippedRow, record_path
from vgim.runs.masked import MaskedText
from vgim.storage import Location
from vgim.text import first_few, first_problem, plural

RECORD, INDEX = "features.json", "index.parquet"
WRITE_AGAIN = "--overwrite writes them again"


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


def refusal(folder: Location, identity: str) -> VgimError | None:
    """Why features cannot be written into a folder as it is; None if it is free, holds them, or holds parts of them.

    Args:
        folder: The folder of features.
        identity: Identity of the features that are to be written.
    """
    there = identity_there(folder)
    is_done = folder.child(RECORD).exists()
    if there == "":
        return StorageError(f"{folder.uri} holds features whose record is damaged; {WRITE_AGAIN}")
    if there not in (None, identity) and (is_done or _has_parts(folder)):
        return ConfigError(
            f"{folder.uri} holds features of another encoder, corpus or options; choose another --out, or --overwrite "
            "to delete them (a sound file that was changed makes another corpus)"
        )
    if is_done:
        try:
            lost = lost_files(file_sizes(folder), _indexed_files(folder))
        except (pa.ArrowException, LookupError, StorageError):
            return StorageError(f"{folder.child(INDEX).uri} is missing or damaged; {WRITE_AGAIN}")
        if lost:
            return StorageError(
                f"{folder.uri} lacks {plural(len(lost), 'file')} of features or holds only a part of them, such as "
                f"{lost[0]}; {WRITE_AGAIN}"
            )
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
        StorageError: The folder is damaged.
    """
    refused = refusal(folder, identity)
    if refused is not None:
        raise refused
    record = folder.child(RECORD)
    if record.exists():
        folder.child(PROGRESS_DIR).delete()
        return FeaturesRecord.model_validate_json(record.read_bytes())
    there = identity_there(folder)
    if there not in (None, identity):
        clear(folder)  # another command began, and finished no part
    if there != identity:
        plan = folder.child(PROGRESS_DIR, "plan.json")
        plan.write_bytes_atomic(json.dumps({"identity": identity}).encode())
    return None


def finished_parts(
    folder: Location, parts: Sequence[Part], say: Callable[[str], None]
) -> dict[str, PartRecord]:
    """The records of the parts that an earlier call finished, by name, without those whose files are not whole.

    Args:
        folder: The folder of features.
        parts: All parts of the corpus.
        say: Called with a line for each part that has to be written again.
    """
    names = set(folder.child(PROGRESS_DIR).list())
    sizes: dict[str, int] | None = None
    finished = {}
    for part in parts:
        path = record_path(folder, part)
        if path.name not in names:
            continue
        try:
            record = PartRecord.model_validate_json(path.read_bytes())
        except ValidationError as error:
            say(f"{path.uri} is damaged ({first_problem(error)}); its utterances are encoded again")
            continue
        sizes = file_sizes(folder) if sizes is None else sizes
        lost = lost_files(sizes, ((row.file, row.num_frames * row.channels) for row in record.rows))
        if lost:
            say(f"{folder.child(lost[0]).uri} is missing or cut; its part is written again")
            continue
        finished[part.name] = record
    return finished


def file_sizes(folder: Location) -> dict[str, int]:
    """Bytes of each file below a folder, by path."""
    return {entry.path: entry.num_bytes for entry in folder.walk() if not entry.is_dir}


def lost_files(sizes: Mapping[str, int], written: Iterable[tuple[str, int]]) -> list[str]:
    """Files that are missing, or smaller than their features, sorted.

    Args:
        sizes: Bytes of the files that are there, by path.
        written: Path of each utterance's file, and the number of values of its features.
    """
    lost = set()
    for file, num_values in written:
        fewest = 4 * num_values if file.endswith(".npy") else 1  # Parquet packs its values
        if sizes.get(file, -1) < fewest:
            lost.add(file)
    return sorted(lost)


def _indexed_files(folder: Location) -> Iterator[tuple[str, int]]:
    """Path of each utterance's file, and the number of values of its features."""
    content = pa.BufferReader(folder.child(INDEX).read_bytes())
    table = pq.read_table(content, columns=["file", "num_frames", "channels"])
    for file, num_frames, channels in zip(*(column.to_pylist() for column in table.columns), strict=True):
        yield file, num_frames * channels


def _has_parts(folder: Location) -> bool:
    return any(name.startswith("part-") for name in folder.child(PROGRESS_DIR).list())


def clear(folder: Location) -> None:
    """Delete the features of a folder, so that at no time a part of them looks whole."""
    folder.child(RECORD).delete()
    folder.child(INDEX).delete()
    for name in folder.list():
        if name.startswith("module-"):
            folder.child(name).delete()
    folder.child(PROGRESS_DIR).delete()
