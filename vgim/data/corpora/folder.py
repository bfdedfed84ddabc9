"""Any folder of sound files, and any list of recordings in one.

SPEAKER/.../NAME.flac      (or .wav, .ogg, .opus, .mp3)
SPEAKER/.../NAME.txt       its transcript, if there is one
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from vgim.data.audio_problem import SkipKind
from vgim.data.corpora.corpus import (
    Corpus,
    Skipped,
    SourceUtterance,
    and_skipped,
    list_corpus,
    read_text,
    skip_other_sound,
)
from vgim.data.corpora.kind import CorpusKind, CorpusOption, CorpusTraits
from vgim.data.corpora.manifest_file import BadLine, ManifestRow, read_manifest_rows
from vgim.data.corpora.open_corpus import CorpusRoot, only_folder, open_corpus, unread_archives
from vgim.data.corpora.phone_labels import LABELS_NAME
from vgim.data.source import Source
from vgim.errors import ConfigError, DataError, StorageError
from vgim.storage import Location
from vgim.text import first_few, plural, shorten

PCM_RATIO = {".wav": 1.0, ".flac": 1.9, ".ogg": 8.0, ".opus": 10.0, ".mp3": 8.0}
"""Suffixes of sound files → bytes of 16 kHz PCM16 per byte of the file, roughly."""
UNKNOWN = "unknown"
"""Speaker of utterances of which nothing names one."""
SEGMENT = "@"
"""Between the id of a recording and the first millisecond of an utterance in it."""


def find_folder(root: CorpusRoot, *, speaker_from: str = "parent", manifest: str | None = None) -> Corpus:
    """List the sound files of a folder, at any depth. Transcripts are read, audio is not.

    An utterance's id is its path without suffix, with `-` for `/` and `_` for spaces; its chapter is its folder.

    Args:
        root: The folder; or an archive. If one folder holds all files of the archive, paths begin below it.
        speaker_from: `parent` for the first folder below the root; `none`; or a regular expression whose first group
            is the speaker, which is searched for in the path.
        manifest: Take the recordings that this list names, with its speakers, transcripts, splits and times.

    Raises:
        ConfigError: `speaker_from` is no regular expression with a group.
        DataError: There is no sound file, or the manifest cannot be read.
    """
    folder = open_corpus(root, "give a folder of sound files")
    speaker_of = _speaker_reader(speaker_from)
    if manifest is None:
        folder = only_folder(folder)
    files, skipped = list_corpus(folder)
    sizes = dict(files)
    warnings = unread_archives(files)
    if manifest is None:
        utterances, problems = _list_sounds(folder, sizes, speaker_of, skipped)
    else:  # what it does not name is left out by the user
        utterances, problems, skipped = _list_rows(folder, Location(manifest), sizes, speaker_of, skipped)
    if problems:
        warnings.append(f"transcripts with bytes that are no text, kept as U+FFFD: {first_few(problems)}")
    if not utterances:
        raise DataError(_nothing_found(folder, manifest, len(sizes), skipped))
    no_speaker = [item.utterance_id for item in utterances if item.speaker_id == UNKNOWN]
    if no_speaker and speaker_from != "none":
        warnings.append(f"no speaker for {plural(len(no_speaker), 'utterance')}: {first_few(no_speaker)}")
    num_bytes = sum(sizes[path] for path in {item.path for item in utterances})
    num_pcm = sum(PCM_RATIO[_suffix(path)] * sizes[path] for path in {item.path for item in utterances})
    labels = folder.child(LABELS_NAME)
    return Corpus(
        name=FOLDER.name,
        root=folder,
        utterances=tuple(utterances),
        skipped=tuple(skipped),
        warnings=tuple(warnings),
        labels=labels if LABELS_NAME in sizes else None,
        pcm_bytes_per_file_byte=num_pcm / max(num_bytes, 1),
        resample=True,
    )


def recordings_of(utterance_ids: Iterable[str]) -> dict[str, str]:
    """Utterance id → id of the recording that it is cut from."""
    return {name: re.sub(rf"{SEGMENT}[0-9]+$", "", name) for name in utterance_ids}


def utterance_id_of(path: str) -> str:
    """The utterance id of a sound file, from its path below the corpus's folder."""
    stem = str(PurePosixPath(path).with_suffix("")) if _suffix(path) in PCM_RATIO else path
    return re.sub(r"\s+", "_", stem.strip("/").replace("/", "-"))


def id_of_name(name: str) -> str:
    """The utterance id of an id in a list of recordings."""
    return re.sub(r"\s+", "_", name.replace("/", "-"))


def segment_id(recording: str, start_s: float) -> str:
    """The utterance id of a segment that has none of its own.

    Args:
        recording: Id of the recording that it is cut from.
        start_s: Its first second.
    """
    return f"{recording}{SEGMENT}{round(1000 * start_s)}"


def _list_sounds(
    folder: Source, sizes: dict[str, int], speaker_of: Callable[[str], str], skipped: list[Skipped]
) -> tuple[list[SourceUtterance], list[str]]:
    """The utterances, and what in their transcripts is no text. Files without a name of their own go to `skipped`."""
    by_id: dict[str, SourceUtterance] = {}
    problems: list[str] = []
    for path, size in sizes.items():
        if _suffix(path) not in PCM_RATIO:
            skipped += skip_other_sound(path, list(PCM_RATIO))
            continue
        if path.rpartition("/")[2].startswith("."):
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason="a hidden file"))
            continue
        item = _utterance(path, size, speaker_of(path))
        if (first := by_id.get(item.utterance_id)) is not None:
            reason = f"it has the same id as {first.path}, {item.utterance_id}"
            skipped.append(Skipped(path_or_id=path, kind="unexpected name", reason=reason))
            continue
        by_id[item.utterance_id] = _with_text_beside(folder, item, sizes, skipped, problems)
    return list(by_id.values()), problems


def _with_text_beside(
    folder: Source, item: SourceUtterance, sizes: dict[str, int], skipped: list[Skipped], problems: list[str]
) -> SourceUtterance:
    """The utterance with the transcript beside its file, if there is one.

    Args:
        skipped: Gets a transcript that cannot be read.
        problems: Gets the lines that are no text.
    """
    beside = str(PurePosixPath(item.path).with_suffix(".txt"))
    if beside not in sizes:
        return item
    lines = read_text(folder, beside, sizes[beside], skipped)
    problems += [f"{beside}, line {line.number}: {line.problem}" for line in lines if line.problem]
    return replace(item, transcript=" ".join(line.text.strip() for line in lines))


def _list_rows(
    folder: Source,
    manifest: Location,
    sizes: dict[str, int],
    speaker_of: Callable[[str], str],
    unusable: list[Skipped],
) -> tuple[list[SourceUtterance], list[str], list[Skipped]]:
    """The utterances of a manifest, what in transcripts is no text, and the lines of which no utterance could be made.

    A whole file whose line has no transcript gets the one beside it.

    Args:
        unusable: What in the folder cannot be read.
    """
    by_id: dict[str, SourceUtterance] = {}
    problems: list[str] = []
    skipped: list[Skipped] = []
    reasons = {item.path_or_id: item.reason for item in unusable}
    paths = _PathsBelow(folder, manifest, (*sizes, *reasons))

    def skip(line: int, kind: SkipKind, reason: str) -> None:
        skipped.append(Skipped(path_or_id=f"{manifest.name}, line {line}", kind=kind, reason=reason))

    for row in read_manifest_rows(manifest):
        if isinstance(row, BadLine):
            skip(row.line, "unreadable", row.reason)
            continue
        path = paths.find(row.path)
        if path is None:
            skip(row.line, "unreadable", f"there is no file {shorten(row.path)} in {folder}")
        elif path in reasons:
            skip(row.line, "unreadable", f"{path}: {reasons[path]}")
        elif _suffix(path) not in PCM_RATIO:
            skip(row.line, "unreadable", f"{path} is none of {', '.join(PCM_RATIO)}")
        else:
            item = _of_row(row, _utterance(path, sizes[path], row.speaker or speaker_of(path)))
            if item.utterance_id in by_id:
                skip(row.line, "unexpected name", f"{item.utterance_id} is there already")
                continue
            if not row.transcript and row.segment_s is None:
                item = _with_text_beside(folder, item, sizes, skipped, problems)
            by_id[item.utterance_id] = item
    num_of_file = Counter(item.path for item in by_id.values())
    utterances = [
        replace(item, recording_id=utterance_id_of(item.path)) if num_of_file[item.path] > 1 else item
        for item in by_id.values()
    ]
    return utterances, problems, skipped


def _utterance(path: str, size: int, speaker_id: str) -> SourceUtterance:
    return SourceUtterance(
        utterance_id=utterance_id_of(path),
        speaker_id=speaker_id or UNKNOWN,
        chapter_id=path.rpartition("/")[0],
        path=path,
        size_bytes=size,
        transcript="",
    )


def _of_row(row: ManifestRow, item: SourceUtterance) -> SourceUtterance:
    name = id_of_name(row.name)
    if row.segment_s is None:
        return replace(
            item, utterance_id=name or item.utterance_id, transcript=row.transcript, split=row.split
        )
    return replace(
        item,
        utterance_id=name or segment_id(item.utterance_id, row.segment_s[0]),
        transcript=row.transcript,
        split=row.split,
        segment_s=row.segment_s,
        recording_id=item.utterance_id,
    )


class _PathsBelow:
    """Finds the files that a manifest names. Relative paths begin at the corpus's folder, or else at the manifest's.

    Unicode writes an accented letter as one character or two; a name that is written otherwise is found too, and so is
    one with the backslashes of Windows.
    """

    def __init__(self, folder: Source, manifest: Location, paths: Iterable[str]) -> None:
        self._folder, self._manifest = folder, manifest
        self._paths = set(paths)
        composed = Counter(unicodedata.normalize("NFC", path) for path in self._paths)
        self._by_composed = {
            name: path for path in self._paths if composed[name := unicodedata.normalize("NFC", path)] == 1
        }

    def find(self, written: str) -> str | None:
        """The path below the corpus's folder; None if it is not there."""
        spellings = dict.fromkeys((written, written.replace("\\", "/")))
        for uri in (uri for spelling in spellings for uri in self._candidates(spelling)):
            path = str(PurePosixPath(uri)) if "://" not in uri else uri
            below = path.removeprefix(self._folder.uri.rstrip("/") + "/")
            if below == path:
                continue
            found = (
                below if below in self._paths else self._by_composed.get(unicodedata.normalize("NFC", below))
            )
            if found is not None:
                return found
        return None

    def _candidates(self, written: str) -> list[str]:
        if written.startswith("/") or "://" in written:
            return [written]
        try:
            return [self._folder.child(written).uri, self._manifest.parent.child(written).uri]
        except StorageError:  # it reads as an address with a password
            return []


def _speaker_reader(speaker_from: str) -> Callable[[str], str]:
    if speaker_from == "none":
        return lambda path: UNKNOWN
    if speaker_from == "parent":
        return lambda path: path.partition("/")[0] if "/" in path else UNKNOWN
    try:
        pattern = re.compile(speaker_from)
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(
            f"--speaker-from {shorten(speaker_from)}: {error}; give parent, none or a regular expression"
        ) from None
    if not pattern.groups:
        raise ConfigError(
            f"--speaker-from {shorten(speaker_from)} has no group; put the speaker's part in brackets, such as "
            "'([^_/]+)_'"
        )

    def search(path: str) -> str:
        match = pattern.search(path)
        return (match[1] or UNKNOWN) if match else UNKNOWN

    return search


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _nothing_found(folder: Source, manifest: str | None, num_files: int, skipped: Sequence[Skipped]) -> str:
    if manifest is not None:
        return f"the manifest {manifest} names no recording in {folder}: {skipped[0].path_or_id}: {skipped[0].reason}"
    found = f"{plural(num_files, 'file')}, none of them" if num_files else "no files, expected"
    return f"no utterance in {folder}: found {found} {', '.join(PCM_RATIO)}{and_skipped(skipped)}; check the path"


def _traits(variant: str | None) -> CorpusTraits:
    return CorpusTraits(recordings_of=recordings_of)


FOLDER = CorpusKind(
    name="folder",
    title="a folder of sound files",
    help="Any folder of FLAC, WAV, Ogg, Opus or MP3 files, or the recordings that a manifest names.",
    find=find_folder,
    options=(
        CorpusOption(
            "speaker_from",
            "--speaker-from",
            help="parent: the first folder below the corpus; none; or a regular expression whose first group is the "
            "speaker.",
            default="parent",
        ),
        CorpusOption(
            "manifest",
            "--manifest",
            help="CSV, TSV, JSONL, or a manifest of NeMo or lhotse: path, speaker, transcript, split, id, start, "
            "duration.",
            is_path=True,
        ),
    ),
    traits=_traits,
)
