"""A corpus as a list of audio files, before any of them is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import NamedTuple

from pydantic import BaseModel

from vgim.data.archives.packed import PackedPath
from vgim.data.audio_problem import AudioProblem, SkipKind
from vgim.data.foreign import own_problems, read_foreign
from vgim.data.listing import list_foreign, nothing_usable
from vgim.data.pcm import SAMPLE_RATE_HZ
from vgim.data.source import Source
from vgim.data.text_lines import TextLine, split_lines
from vgim.storage import FileSizes, Location

MIN_SAMPLES = 20_480 + 160
"""A crop of 1.28 s that starts at least 10 ms into the utterance."""
SOUND_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3"),
    *(
        ".aac",
        ".aif",
        ".aifc",
        ".aiff",
        ".amr",
        ".ape",
        ".au",
        ".caf",
        ".m4a",
        ".mka",
        ".oga",
        ".rf64",
        ".snd",
        ".sph",
    ),
    *(".spx", ".w64", ".wma", ".wv"),
)
"""Endings of names that promise sound, whether a corpus reads them or not."""


class Skipped(BaseModel, frozen=True, extra="forbid", defer_build=True):
    """A file of the corpus that is not in the shards, or something in its folder that cannot be read."""

    path_or_id: str
    kind: SkipKind
    """The category that `skipped_by_reason` of the manifest counts."""
    reason: str
    """A sentence with the values, such as the file's sample rate."""


class CorpusFiles(NamedTuple):
    """The files of a corpus's folder, and what in it cannot be read."""

    sizes: FileSizes
    """Path below the folder and bytes of each file, sorted by path."""
    skipped: list[Skipped]


def list_corpus(folder: Source) -> CorpusFiles:
    """List the files of a corpus's folder or archives, at any depth.

    Raises:
        StorageError: The folder cannot be listed.
    """
    unusable: Sequence[tuple[str, str]]
    if isinstance(folder, PackedPath):
        sizes, unusable = folder.list_files(), folder.list_unusable()
    else:
        listing = list_foreign(Location(folder.uri), SOUND_SUFFIXES)
        sizes, unusable = [(entry.path, entry.num_bytes) for entry in listing.files], listing.unusable
    skipped = [Skipped(path_or_id=path, kind="unreadable", reason=reason) for path, reason in unusable]
    return CorpusFiles(sizes, skipped)


def skip_other_sound(path: str, expected: Sequence[str]) -> list[Skipped]:
    """A file that the corpus does not read, as skipped, if its name promises sound; nothing for another file."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in SOUND_SUFFIXES:
        return []
    reason = f"it ends in {suffix}, none of {', '.join(expected)}; convert it"
    return [Skipped(path_or_id=path, kind="unexpected name", reason=reason)]


def read_text(folder: Source, path: str, num_bytes: int, skipped: list[Skipped]) -> list[TextLine]:
    """The lines of a text file that lies beside the audio. If it cannot be read, it is added to `skipped`.

    Args:
        folder: The corpus's folder.
        path: The file, below it.
        num_bytes: Its size when it was listed.
        skipped: What cannot be read.

    Raises:
        StorageError: The storage does not answer.
    """
    try:
        with own_problems(folder):
            return split_lines(read_foreign(folder.child(path), num_bytes))
    except AudioProblem as problem:
        skipped.append(Skipped(path_or_id=path, kind=problem.kind, reason=problem.reason))
        return []


def and_skipped(skipped: Sequence[Skipped]) -> str:
    """How many files were skipped while a corpus was listed, and the first, for a message that none is left."""
    return nothing_usable([(item.path_or_id, item.reason) for item in skipped])


@dataclass(frozen=True)
class SourceUtterance:
    """One audio file of a corpus. It is listed, not opened."""

    utterance_id: str
    speaker_id: str
    chapter_id: str
    path: str
    """Relative to the corpus's root."""
    size_bytes: int
    transcript: str
    """Empty if the corpus has none."""
    split: str | None = None
    """The published split, if the corpus's folders are its splits."""
    segment_s: tuple[float, float | None] | None = None
    """First second of the utterance in its file, and the second after its last, where None means the file's end; None
    for the whole file."""
    recording_id: str | None = None
    """Recording that it is cut from, if the corpus's traits cannot tell from its id."""
    earlier_id: str | None = None
    """The id in shards of vgim 0.1, if it was another one. Split lists and label files may still name it."""

    def estimated_bytes(self, pcm_bytes_per_file_byte: float) -> float:
        """Bytes of the file that hold the utterance, roughly: all of them but for a segment.

        Args:
            pcm_bytes_per_file_byte: As in `Corpus`.
        """
        if self.segment_s is None or self.segment_s[1] is None or not self.size_bytes:
            return self.size_bytes
        pcm_bytes = (self.segment_s[1] - self.segment_s[0]) * SAMPLE_RATE_HZ * 2
        return min(self.size_bytes, pcm_bytes / pcm_bytes_per_file_byte)


@dataclass(frozen=True)
class Corpus:
    """All utterances of a corpus in a fixed order, and what was noticed while listing them."""

    name: str
    """The corpus's name in `registry.CORPORA`; the manifest keeps it."""
    root: Source
    utterances: tuple[SourceUtterance, ...]
    skipped: tuple[Skipped, ...] = ()
    warnings: tuple[str, ...] = ()
    labels: Source | None = None
    """The file of phone labels that lies beside the audio."""
    pcm_bytes_per_file_byte: float = 1.0
    """Bytes of 16 kHz PCM16 per byte of the files, roughly. Shards are sized by it, without opening files."""
    min_samples: int = MIN_SAMPLES
    """Shorter utterances are skipped, unless `prepare` is given another number."""
    resample: bool = False
    """Whether files of other sample rates are converted, unless `prepare` is called with another choice."""
    variant: str | None = None
    """Which form of the corpus was listed, if it has several: a part, or a choice of subsets."""

    @property
    def estimated_pcm_bytes(self) -> int:
        ratio = self.pcm_bytes_per_file_byte
        return int(ratio * sum(item.estimated_bytes(ratio) for item in self.utterances))
