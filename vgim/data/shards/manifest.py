"""The manifest of a shard folder: what the folder holds, what was left out, and its fingerprint.

A shard folder holds `train/`, `validation/` and `test/` with `00000.parquet`, ..., `index.parquet` (a row per
utterance), `manifest.json` (size and SHA-256 of all of them) and `manifest.sha256` (the manifest's own hash, written
last, so it marks the folder as complete). A shard holds utterances of one split. Folders of earlier versions have no
`manifest.sha256` and no hash of `index.parquet`; their manifest marks them as complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from vgim.data.corpora.corpus import Skipped
from vgim.data.corpora.kind import CorpusTraits
from vgim.data.corpora.registry import corpora_of, corpus_title, corpus_traits
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.shards.alignment import Alignment, phone_path, read_alignment
from vgim.data.shards.file_entry import FileEntry
from vgim.data.shards.unfinished import why_unfinished
from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import first_line, first_problem

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
MARKER_NAME = "manifest.sha256"
"""Holds the manifest's SHA-256 as `sha256sum` prints it. It is written last."""
INDEX_NAME = "index.parquet"
PROGRESS_DIR = ".prepare"
"""Folder with a record per finished shard, while a preparation runs. It is deleted after the marker is written."""
PLAN_NAME = "plan.json"
"""File in PROGRESS_DIR: hash of the plan that is carried out, and the verb."""
SPLITS = ("train", "validation", "test")

_MARKER = re.compile(rb"[0-9a-f]{64} [ *]" + re.escape(MANIFEST_NAME).encode() + rb"(\r?\n)?")
"""Content of `manifest.sha256`, with any ends of lines: programs that copy text change them."""

Split = Literal["train", "validation", "test"]
Codec = Literal["pcm16", "flac"]
OptionValue = str | int | float | bool | None
DerivingVerb = Literal["merge", "split", "subset"]
"""Verbs of `vgim data` that make a shard folder of others."""


class ManifestModel(BaseModel):
    """Base of all records in a shard folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class ShardEntry(ManifestModel):
    """One shard: its path, size and hash."""

    path: str = Field(pattern=rf"^({'|'.join(SPLITS)})/[0-9]{{5,}}\.parquet$")
    """Relative to the shard folder, such as `train/00000.parquet`."""
    utterances: int
    bytes: int
    sha256: str


class SplitSummary(ManifestModel):
    """Size and shards of one split."""

    utterances: int = 0
    hours: float = 0.0
    speakers: int = 0
    shards: tuple[ShardEntry, ...] = ()


class SourceShards(ManifestModel):
    """A shard folder that another was made of."""

    shards: str
    """Path or URI at that time."""
    fingerprint: str
    corpus: str
    utterances: int
    options: dict[str, OptionValue]
    """Options of its preparation."""


class Origin(ManifestModel):
    """How a shard folder was made of others."""

    verb: DerivingVerb
    sources: tuple[SourceShards, ...]


class Manifest(ManifestModel):
    """The content of `manifest.json`. Mean and standard deviation are in units of float PCM, int16 / 32768."""

    schema_version: int = SCHEMA_VERSION
    corpus: str
    """Name of the corpus. A corpus that is not in the registry reads as well: it has the default traits."""
    codec: Codec
    sample_rate_hz: int = SAMPLE_RATE_HZ
    created: str
    """ISO time; not part of the fingerprint."""
    splits: dict[Split, SplitSummary]
    """Summaries of train, validation and test, each of which may be empty."""
    speakers: tuple[str, ...]
    """Sorted speaker ids. A speaker's index is its class in the speaker probe."""
    corpus_mean: float
    """Mean over all samples of the train split."""
    corpus_std: float
    """Standard deviation over all samples of the train split."""
    phone_inventory: tuple[str, ...] | None = None
    """Name of each phone class; None without phone labels."""
    skipped: tuple[Skipped, ...] = ()
    skipped_by_reason: dict[str, int] = {}
    left_out: int = 0
    """Utterances that are in none of the split lists."""
    warnings: tuple[str, ...] = ()
    options: dict[str, OptionValue] = {}
    """The options of `prepare` that shape the shards. `part` is `Corpus.variant`."""
    plan: str
    """Hash of the options and the listed corpus. With the same hash, preparing again would change nothing."""
    fingerprint: str
    """Hash of the shards' contents. It does not depend on time, machine or folder."""
    index: FileEntry | None = None
    """Size and hash of `index.parquet`; None in folders of earlier versions, which did not record them."""

    origin: Origin | None = None
    """The shards that these were made of; None for shards of a preparation."""
    beyond_max_hours: int = 0
    """Utterances that `max_hours` left out."""

    alignment: Alignment | None = None
    """Labels that `vgim data align` added; in `alignment.json`, from where `read_manifest` takes them."""

    @model_serializer(mode="wrap")
    def _without_what_is_missing(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        for name in ("index", "origin", "beyond_max_hours", "alignment"):
            if not content[name]:
                del content[name]
        return content

    @property
    def labels_digest(self) -> str:
        """Hash of labels that were added later; empty without such labels."""
        return "" if self.alignment is None else self.alignment.digest

    def phones_of(self, shard: ShardEntry) -> str | None:
        """Path of the labels that were added to a shard, below the folder; None without such labels."""
        return None if self.alignment is None else phone_path(shard.path)

    @property
    def corpus_title(self) -> str:
        """The corpus's name for readers."""
        return corpus_title(self.corpus)

    @property
    def variant(self) -> str | None:
        """The form of the corpus, if it has several: a part, or a choice of subsets."""
        part = self.options.get("part")
        return None if part is None else str(part)

    @property
    def traits(self) -> CorpusTraits:
        """Properties of the corpus's utterances."""
        return corpus_traits(self.corpus, self.variant)

    @property
    def corpora(self) -> frozenset[str]:
        """Names of the corpora: several, if shards of several were joined."""
        return corpora_of(self.corpus)

    @property
    def num_utterances(self) -> int:
        return sum(split.utterances for split in self.splits.values())

    def split(self, name: str) -> SplitSummary:
        """The summary of a split.

        Raises:
            DataError: There is no split of this name.
        """
        if name not in self.splits:
            raise DataError(f"there is no split {name!r}; the manifest has {', '.join(self.splits)}")
        return self.splits[name]


def fingerprint(shards: Iterable[ShardEntry]) -> str:
    """SHA-256 in hex over the schema version and the sorted hashes of the shards."""
    digest = hashlib.sha256(f"vgim shards {SCHEMA_VERSION}\n".encode())
    for sha256 in sorted(shard.sha256 for shard in shards):
        digest.update(f"{sha256}\n".encode())
    return digest.hexdigest()


def count_by_reason(skipped: Iterable[Skipped]) -> dict[str, int]:
    """Number of skipped files of each kind, the most frequent first."""
    return dict(Counter(item.kind for item in skipped).most_common())


def counts_in_words(counts: Mapping[str, int]) -> str:
    """`3 too short, 1 corrupt`."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def is_complete(folder: Location) -> bool:
    """Whether the folder holds complete shards: `manifest.sha256`, or a manifest of an earlier version."""
    if folder.child(MARKER_NAME).exists():
        return folder.child(MANIFEST_NAME).exists()
    return folder.child(MANIFEST_NAME).exists() and not _needs_marker(
        folder.child(MANIFEST_NAME).read_bytes()
    )


def _needs_marker(manifest: bytes) -> bool:
    """Whether `manifest.sha256` belongs beside this content of a `manifest.json`."""
    try:
        content = json.loads(manifest)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("index") is not None


def read_manifest(uri: str | os.PathLike[str] | Location) -> Manifest:
    """Read the manifest of a shard folder.

    Raises:
        DataError: The folder or its manifest is missing, incomplete or damaged. The message is one line.
        StorageError: The storage cannot be read.
    """
    folder = Location(uri)
    _check_complete(folder)
    data = folder.child(MANIFEST_NAME).read_bytes()
    _check_marker(folder, data)
    remedy = f"copy the folder again, or remove {folder} and run `vgim data prepare` again"
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{folder}/{MANIFEST_NAME} is not valid JSON (line {error.lineno}: {error.msg}); {remedy}"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{folder}/{MANIFEST_NAME} is not UTF-8 text; {remedy}") from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # a number of thousands of digits, or lists in lists in lists
        raise DataError(f"{folder}/{MANIFEST_NAME} is damaged ({first_line(error)}); {remedy}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{folder}/{MANIFEST_NAME} has schema_version {version!r} but this vgim reads {SCHEMA_VERSION}; "
            f"use the vgim that wrote it, or {remedy}"
        )
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise DataError(f"{folder}/{MANIFEST_NAME} is damaged ({first_problem(error)}); {remedy}") from error
    if (
        fingerprint(shard for split in manifest.splits.values() for shard in split.shards)
        != manifest.fingerprint
    ):
        raise DataError(
            f"{folder}/{MANIFEST_NAME} is damaged (its fingerprint is not that of its shards); {remedy}"
        )
    alignment = read_alignment(folder, manifest.fingerprint)
    if alignment is None:
        return manifest
    return manifest.model_copy(update={"alignment": alignment, "phone_inventory": alignment.inventory})


def _check_complete(folder: Location) -> None:
    """Raise DataError unless the folder is complete, with the reason."""
    if is_complete(folder):
        return
    if not folder.exists():
        raise DataError(f"there is no shard folder {folder}; run `vgim data prepare ... --out {folder}`")
    has_manifest = folder.child(MANIFEST_NAME).exists()
    missing = MARKER_NAME if has_manifest else MANIFEST_NAME
    records = folder.child(PROGRESS_DIR)
    if records.exists():
        raise DataError(f"no {missing} in {folder}: {why_unfinished(folder, records, _begun_by(folder))}")
    if has_manifest or folder.child(MARKER_NAME).exists():
        raise DataError(
            f"no {missing} in {folder}: the file was deleted or not copied, so nothing says that the shards are whole; "
            f"copy the folder again, or remove {folder} and run `vgim data prepare` again"
        )
    raise DataError(
        f"no {MANIFEST_NAME} in {folder}: it is not a shard folder; check the path, or run `vgim data prepare ...` "
        "with another --out"
    )


def _begun_by(folder: Location) -> str:
    """The verb of `vgim data` that was interrupted in a folder."""
    plan = folder.child(PROGRESS_DIR, PLAN_NAME)
    try:
        content = json.loads(plan.read_bytes()) if plan.exists() else {}
    except ValueError:
        content = {}
    verb = content.get("verb") if isinstance(content, dict) else None
    return str(verb) if verb in get_args(DerivingVerb) else "prepare"


def _check_marker(folder: Location, manifest: bytes) -> None:
    """Raise DataError if the manifest's hash is not the one in `manifest.sha256`. Earlier versions wrote none."""
    marker = folder.child(MARKER_NAME)
    if not marker.exists():
        return
    # "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae  manifest.json"
    found = marker.read_bytes()
    if not _MARKER.fullmatch(found):
        raise DataError(
            f"{marker} is damaged (it is not as `sha256sum {MANIFEST_NAME}` prints it); copy the folder again, or "
            f"remove {folder} and run `vgim data prepare` again"
        )
    if found.split()[0] != _sha256(manifest):
        raise DataError(
            f"{folder}/{MANIFEST_NAME} is damaged (its SHA-256 is not the one in {MARKER_NAME}); copy the folder "
            f"again, or remove {folder} and run `vgim data prepare` again"
        )


def _marker(manifest: bytes) -> bytes:
    return b"%s  %s\n" % (_sha256(manifest), MANIFEST_NAME.encode())


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def write_manifest(folder: Location, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all, and then the marker with its hash."""
    data = (manifest.model_dump_json(indent=1) + "\n").encode()
    folder.child(MANIFEST_NAME).write_bytes_atomic(data)
    folder.child(MARKER_NAME).write_bytes_atomic(_marker(data))
