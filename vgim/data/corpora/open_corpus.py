"""Where a corpus is: a folder, or archives that are read like the folder into which they would be unpacked."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from vgim.data.archives.members import SUFFIXES, is_archive
from vgim.data.archives.packed import PackedPath, open_archives
from vgim.data.archives.random_access import check_readable
from vgim.data.corpora.corpus import SOUND_SUFFIXES
from vgim.data.listing import list_foreign
from vgim.data.source import Source
from vgim.errors import DataError
from vgim.progress import SILENT, Progress
from vgim.storage import FileSizes, Location, storage_errors
from vgim.text import first_few, plural

CorpusRoot = str | Path | Location | PackedPath
"""A folder, an archive, or a folder of archives, by path or URI; or archives that are listed already."""


def open_corpus(root: CorpusRoot, fix: str) -> Source:
    """The folder of a corpus, or its archives as a folder.

    Args:
        root: Path or URI.
        fix: What to do if it is neither, for the message.

    Raises:
        DataError: There is nothing, or a file that is no archive. Or an archive is damaged, or holds what no corpus
            needs.
        ConfigError: An archive cannot be read without unpacking it.
        StorageError: The storage cannot be read.
    """
    opened = open_packed(root)
    if isinstance(opened, PackedPath):
        return opened
    folder = Location(opened)
    if not folder.exists():
        raise DataError(f"there is no folder {folder}; {fix}")
    if not folder.is_dir():
        raise DataError(f"{folder} is a file, but no folder and no {' or '.join(SUFFIXES)}; {fix}")
    return folder


def open_packed(root: CorpusRoot, *, only: Collection[str] = (), progress: Progress = SILENT) -> CorpusRoot:
    """List the archives of a corpus, if it is in archives.

    Args:
        root: Path or URI.
        only: Names of archives. If the folder has them all, others are not read.
        progress: Where to report how much is read.

    Returns:
        The archives; or `root` if it is neither an archive nor a folder with archives and without sound files.

    Raises:
        DataError: An archive is damaged or holds what no corpus needs.
        ConfigError: An archive cannot be read without unpacking it.
        StorageError: The storage cannot be read.
    """
    if isinstance(root, PackedPath):
        return root
    place = Location(root)
    archives = _archives_in(place)
    if not archives:
        return root
    if only and {archive.name for archive in archives} >= set(only):
        archives = [archive for archive in archives if archive.name in only]
    check_readable(archives)
    return open_archives(place, archives, progress)


def _archives_in(place: Location) -> list[Location]:
    if not place.is_dir():
        return [place] if is_archive(place.name) and place.exists() else []
    if not any(is_archive(name) for name in _names_in(place)):
        return []
    listing = list_foreign(place)
    if any(entry.path.lower().endswith(SOUND_SUFFIXES) for entry in listing.files):
        return []
    for path, reason in listing.unusable:
        if is_archive(path):
            raise DataError(f"{place}: {path} cannot be read: {reason}")
    return [
        place.child(entry.path) for entry in listing.files if is_archive(entry.path) and "/" not in entry.path
    ]


def _names_in(folder: Location) -> list[str]:
    if not folder.is_local:
        return [entry.path for entry in folder.walk(recursive=False)]
    with storage_errors("list", folder.uri, kinds=(OSError,)):
        return os.listdir(folder.uri)  # noqa: PTH208 (names of any bytes)


def only_folder(source: Source) -> Source:
    """The folder at the top of an archive that holds all of its files; `source` if there is none, or it is unpacked."""
    if not isinstance(source, PackedPath):
        return source
    tops = {path.partition("/")[0] for path, _ in source.list_files()}
    files_at_top = any("/" not in path for path, _ in source.list_files())
    return source if files_at_top or len(tops) != 1 else source.child(tops.pop())


def unread_archives(files: FileSizes) -> list[str]:
    """Warnings for archives among the files of a corpus that seem not to be unpacked there."""
    folders = {part for path, _ in files for part in path.split("/")[:-1]}
    unread = [
        path
        for path, _ in files
        if is_archive(path) and not path.startswith(".") and _without_suffix(path) not in folders
    ]
    if not unread:
        return []
    return [
        f"not read, since sound files lie beside: {plural(len(unread), 'archive')}, {first_few(unread)}; unpack them "
        "there, or prepare from the archives alone"
    ]


def _without_suffix(path: str) -> str:
    name = PurePosixPath(path).name
    return next(name[: -len(suffix)] for suffix in SUFFIXES if name.lower().endswith(suffix))
