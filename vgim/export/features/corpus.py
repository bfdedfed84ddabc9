"""A corpus as parts, each of which is encoded at once: row groups of shards, or some sound files."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from vgim.config.paths import resolve_path
from vgim.data.audio_problem import AudioProblem
from vgim.data.foreign import own_problems
from vgim.data.listing import list_foreign, nothing_usable
from vgim.data.pcm import Pcm16
from vgim.data.shards.manifest import MANIFEST_NAME, MARKER_NAME, PROGRESS_DIR, read_manifest
from vgim.data.shards.read import read_row_group_utterances, shard_footer
from vgim.data.sound_file import read_sound
from vgim.data.text_lines import read_whole_lines
from vgim.errors import ConfigError, DataError, StorageError
from vgim.storage import Location
from vgim.storage.location import Entry
from vgim.text import first_few, plural

SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64")
FILES_IN_PART = 32
_LIBRISPEECH = re.compile(r"(?:^|/)([^-/]+)/([^-/]+)/\1-\2-[^/]+$")
"""`1089/134686/1089-134686-0000.flac`: speaker, chapter, utterance."""


@dataclass(frozen=True)
class Clip:
    """An utterance to encode."""

    utterance_id: str
    speaker_id: str
    """Empty if it is not known."""
    audio: Pcm16


@dataclass(frozen=True)
class Skipped:
    """An utterance that has no features."""

    utterance_id: str
    """Its id; the path below the corpus for a file that is skipped before it is opened."""
    reason: str


@dataclass(frozen=True)
class Part:
    """Utterances that are encoded and recorded together."""

    name: str
    """Different for each part of a corpus, without slashes."""
    num_utterances: int
    shard: str = ""
    """The shard's path or URI; empty for sound files."""
    row_group: int = 0
    codec: str = ""
    files: tuple[tuple[str, str], ...] = ()
    """Id, and path or URI, of each sound file."""
    named_by: str = ""
    """The folder or list that the sound files are from."""


@dataclass(frozen=True)
class FeatureCorpus:
    """All utterances of a corpus."""

    where: str
    digest: str
    """Hash of what there is to encode: the shards' fingerprint and splits, or the names, sizes and times of files."""
    parts: tuple[Part, ...]
    skipped: tuple[Skipped, ...] = ()
    """What in a folder of sound files cannot be encoded."""

    @property
    def num_utterances(self) -> int:
        """Utterances of all parts."""
        return sum(part.num_utterances for part in self.parts)


def find_corpus(where: str, splits: Sequence[str]) -> FeatureCorpus:
    """List a corpus. Audio is not read.

    Args:
        where: A shard folder, a folder of sound files, a sound file, or a text file with the path of a sound file in
            each line.
        splits: Splits of a shard folder; empty for all.

    Raises:
        DataError: There is no audio, or two files have the same id.
        ConfigError: Splits are given for sound files.
        StorageError: There is no such folder or file, or a list names a file that is not there.
    """
    place = Location(where)
    if not place.exists():
        raise StorageError(
            f"there is no corpus {place.uri}; give a shard folder, a folder of sound files, or a list"
        )
    is_folder = place.is_dir()
    if is_folder and any(place.child(name).exists() for name in (MANIFEST_NAME, MARKER_NAME, PROGRESS_DIR)):
        return _shards(place, splits)
    if splits:
        raise ConfigError(f"--split {splits[0]}, but {place.uri} is no shard folder; leave --split out")
    return _sound_files(place, is_folder)


def read_clips(part: Part, conversions: Counter[str]) -> Iterator[Clip | Skipped]:
    """The utterances of a part, one after the other; a sound file that cannot be read or decoded is skipped.

    Args:
        part: A part of a corpus.
        conversions: What was done to the samples of sound files is counted here.

    Raises:
        DataError: A shard is damaged.
        StorageError: The storage cannot be read.
    """
    if part.shard:
        for utterance in read_row_group_utterances(part.shard, part.row_group, part.codec):
            yield Clip(utterance.utterance_id, utterance.speaker_id, utterance.audio)
    for utterance_id, file in part.files:
        prefix = f"note: {Location(file).uri}: "

        def note(line: str, prefix: str = prefix) -> None:
            conversions[line.removeprefix(prefix)] += 1

        try:
            with own_problems(Location(part.named_by)):
                audio = read_sound(file, note)
        except (AudioProblem, DataError) as error:
            yield Skipped(utterance_id, str(error))
        else:
            yield Clip(utterance_id, _speaker(file), audio)


def _shards(place: Location, splits: Sequence[str]) -> FeatureCorpus:
    manifest = read_manifest(place)
    chosen = list(splits) or [name for name, split in manifest.splits.items() if split.utterances]
    parts = []
    for split in dict.fromkeys(chosen):
        if not manifest.split(split).utterances:
            raise DataError(f"{place.uri} has no {split} split; leave --split {split} out")
        for shard in manifest.split(split).shards:
            path = place.child(shard.path).uri
            metadata = shard_footer(path)
            stem = shard.path.replace("/", "-").removesuffix(".parquet")
            for group in range(metadata.num_row_groups):
                num = metadata.row_group(group).num_rows
                parts.append(Part(f"{stem}-{group:04d}", num, path, group, manifest.codec))
    digest = hashlib.sha256(f"{manifest.fingerprint} {sorted(set(chosen))}".encode()).hexdigest()
    return FeatureCorpus(place.uri, digest, tuple(parts))


def _sound_files(place: Location, is_folder: bool) -> FeatureCorpus:
    skipped: list[Skipped] = []
    if is_folder:
        listing = list_foreign(place, SOUND_SUFFIXES)
        skipped = [Skipped(path, reason) for path, reason in listing.unusable]
        sounds = {entry.path: entry for entry in listing.files if entry.path.lower().endswith(SOUND_SUFFIXES)}
        sounds = _of_distinct_ids(sounds, skipped)
        versions = {place.child(path).uri: _version(entry) for path, entry in sounds.items()}
        ids = [_without_suffix(path) for path in sounds]
    elif place.uri.lower().endswith(SOUND_SUFFIXES):
        versions = _versions({place.uri: "CORPUS"})
        ids = [_without_suffix(place.name)]
    else:
        versions = _versions(_listed(place))
        ids = _distinct_parts(list(versions))
    found = dict(zip(ids, versions, strict=True))
    if not versions:
        raise DataError(
            f"{place.uri} holds neither shards nor sound files ({', '.join(SOUND_SUFFIXES)})"
            f"{nothing_usable([(item.utterance_id, item.reason) for item in skipped])}; check the path"
        )
    if len(found) < len(versions):
        same = sorted(set(versions) - set(found.values()))
        raise DataError(
            f"{place.uri} has {plural(len(same), 'file')} with the id of another, such as {first_few(same, 1)}; ids "
            "are paths without their ending: leave one out"
        )
    files = sorted(found.items())
    parts = [
        Part(f"files-{number:06d}", len(some), files=tuple(some), named_by=place.uri)
        for number, start in enumerate(range(0, len(files), FILES_IN_PART))
        if (some := files[start : start + FILES_IN_PART])
    ]
    text = "\n".join(f"{name} {file} {versions[file]}" for name, file in files)
    return FeatureCorpus(place.uri, hashlib.sha256(text.encode()).hexdigest(), tuple(parts), tuple(skipped))


def _of_distinct_ids(sounds: Mapping[str, Entry], skipped: list[Skipped]) -> dict[str, Entry]:
    """The first file of each id, which is its path without ending; the others are added to `skipped`."""
    first: dict[str, str] = {}
    for path in sounds:
        same = first.setdefault(_without_suffix(path), path)
        if same != path:
            skipped.append(Skipped(path, f"it has the same id as {same}, {_without_suffix(path)}"))
    return {path: sounds[path] for path in first.values()}


def _version(entry: Entry) -> str:
    """What tells a file from an earlier one of the same name."""
    return f"{entry.num_bytes} {entry.mtime_ns}"


def _versions(named_by: Mapping[str, str]) -> dict[str, str]:
    """The version of each file, from one listing of each folder that holds some of them.

    Args:
        named_by: What names each file, for errors.

    Raises:
        StorageError: There is no such file, or it is a folder.
    """
    folders: dict[str, dict[str, Entry]] = {}
    versions = {}
    for file, named in named_by.items():
        folder, name = Location(file).parent, PurePosixPath(Location(file).fs_path).name
        if folder.uri not in folders:
            folders[folder.uri] = {entry.path: entry for entry in folder.walk(recursive=False)}
        entry = folders[folder.uri].get(name)
        if entry is None or entry.is_dir:
            raise StorageError(
                f"{named} names {file}, which is {'no file' if entry is None else 'a folder'}; check the path"
            )
        versions[file] = _version(entry)
    return versions


def _listed(place: Location) -> dict[str, str]:
    """The files that a list names, as absolute paths or URIs, and which line names each. Paths start at its folder."""
    files: dict[str, str] = {}
    for number, line, _ in read_whole_lines(place):
        name = line.strip()
        if not name.lower().endswith(SOUND_SUFFIXES):
            raise DataError(
                f"{place.uri} line {number} ends in none of {', '.join(SOUND_SUFFIXES)}; give a sound file, a folder, "
                "or a text file with the path of a sound file in each line"
            )
        absolute = "://" in name or name.startswith(("/", "~", "$"))
        named = f"line {number} of {place.uri}"
        files.setdefault(resolve_path(name, named) if absolute else place.parent.child(name).uri, named)
    return files


def _distinct_parts(files: Sequence[str]) -> list[str]:
    """An id for each file: its path below the folder that all share, without its ending."""
    paths = [PurePosixPath(unquote(file)).parts for file in files]
    shared = 0
    while len({path[: shared + 1] for path in paths}) == 1 and all(len(path) > shared + 1 for path in paths):
        shared += 1
    return [_without_suffix("/".join(path[shared:])) for path in paths]


def _speaker(file: str) -> str:
    """The speaker of a file in LibriSpeech's layout; empty for another file."""
    match = _LIBRISPEECH.search(file)
    return "" if match is None else match[1]


def _without_suffix(path: str) -> str:
    return path.rpartition(".")[0]
