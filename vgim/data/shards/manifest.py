"""The manifest of a shard folder: what the folder holds, what was left out, and its fingerprint.

A shard folder holds `manifest.json` (written last, so it marks the folder as complete), `index.parquet` (a row per
utterance), and `train/`, `validation/` and `test/` with `00000.parquet`, ... A shard holds utterances of one split.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from vgim.data.corpora.corpus import Skipped
from vgim.data.corpora.kind import CorpusTraits
from vgim.data.corpora.registry import corpus_title, corpus_traits
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.errors import DataError
from vgim.storage import COPY_CHUNK_BYTES, Location
from vgim.text import first_problem

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
INDEX_NAME = "index.parquet"
PROGRESS_DIR = ".prepare"
"""Folder with a record per finished shard, while a preparation runs. It is deleted after the manifest is written."""
SPLITS = ("train", "validation", "test")

Codec = Literal["pcm16", "flac"]
OptionValue = str | int | float | bool | None


class ManifestModel(BaseModel):
    """Base of all records in a shard folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ShardEntry(ManifestModel):
    """One shard: its path, size and hash."""

    path: str
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


class Manifest(ManifestModel):
    """The content of `manifest.json`. Mean and standard deviation are in units of float PCM, int16 / 32768."""

    schema_version: int = SCHEMA_VERSION
    corpus: str
    """Name of the corpus. A corpus that is not in the registry reads as well: it has the default traits."""
    codec: Codec
    sample_rate_hz: int = SAMPLE_RATE_HZ
    created: str
    """ISO time; not part of the fingerprint."""
    splits: dict[str, SplitSummary]
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
    """Whether the folder holds complete shards, that is a manifest."""
    return folder.child(MANIFEST_NAME).exists()


def read_manifest(uri: str | os.PathLike[str] | Location) -> Manifest:
    """Read the manifest of a shard folder.

    Raises:
        DataError: The folder or its manifest is missing, incomplete or damaged. The message is one line.
    """
    folder = Location(uri)
    if not is_complete(folder):
        if not folder.exists():
            raise DataError(f"there is no shard folder {folder}; run `vgim data prepare ... --out {folder}`")
        if folder.child(PROGRESS_DIR).exists():
            raise DataError(
                f"no {MANIFEST_NAME} in {folder}: its preparation was interrupted; run the same "
                "`vgim data prepare` again, it goes on from the finished shards"
            )
        raise DataError(
            f"no {MANIFEST_NAME} in {folder}: it is not a shard folder; check the path, or run "
            "`vgim data prepare ...` with another --out"
        )
    text = folder.child(MANIFEST_NAME).read_text()
    remedy = f"remove {folder} and run `vgim data prepare` again"
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{folder}/{MANIFEST_NAME} is not valid JSON (line {error.lineno}: {error.msg}); {remedy}"
        ) from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{folder}/{MANIFEST_NAME} has schema_version {version!r} but this vgim reads {SCHEMA_VERSION}; "
            f"use the vgim that wrote it, or {remedy}"
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise DataError(f"{folder}/{MANIFEST_NAME} is damaged ({first_problem(error)}); {remedy}") from error


def write_manifest(folder: Location, manifest: Manifest) -> None:
    """Write the manifest, whole or not at all."""
    folder.child(MANIFEST_NAME).write_bytes_atomic((manifest.model_dump_json(indent=1) + "\n").encode())


def _problems_by_size(folder: Location, manifest: Manifest) -> list[str]:
    """A sentence for each shard that is missing or has another size than in the manifest."""
    problems = []
    for name, split in manifest.splits.items():
        sizes = dict(folder.child(name).list_files())
        for shard in split.shards:
            size = sizes.get(shard.path.rpartition("/")[2])
            if size is None:
                problems.append(f"{shard.path} is missing")
            elif size != shard.bytes:
                problems.append(f"{shard.path} has {size} bytes, expected {shard.bytes}")
    if not folder.child(INDEX_NAME).exists():
        problems.append(f"{INDEX_NAME} is missing")
    return problems


def check_shards_present(uri: str | os.PathLike[str] | Location, manifest: Manifest) -> None:
    """Check that every shard is there with its size. No file is read.

    Raises:
        DataError: A shard is missing or has another size.
    """
    problems = _problems_by_size(Location(uri), manifest)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise DataError(
            f"the shards in {uri} are not whole: {problems[0]}{more}; copy the folder again, or remove it "
            "and run `vgim data prepare`"
        )


def verify(uri: str | os.PathLike[str] | Location) -> list[str]:
    """Hash every shard; a sentence for each that is missing or damaged."""
    folder = Location(uri)
    manifest = read_manifest(folder)
    problems = _problems_by_size(folder, manifest)
    known_bad = {problem.split(" ", 1)[0] for problem in problems}
    for split in manifest.splits.values():
        for shard in split.shards:
            if shard.path not in known_bad and _sha256(folder.child(shard.path)) != shard.sha256:
                problems.append(f"{shard.path} is damaged (its SHA-256 is not the manifest's)")
    return problems


def _sha256(file: Location) -> str:
    digest = hashlib.sha256()
    with file.open_input() as stream:
        while chunk := stream.read(COPY_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
