"""Unpack an archive that nobody has vouched for: files and folders below one folder, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vgim.data.archives.members import read_members
from vgim.progress import SILENT, Progress
from vgim.storage import FileSizes, Location
from vgim.storage.errors import storage_errors


@dataclass(frozen=True)
class Unpacked:
    """What an archive held."""

    num_files: int
    num_bytes: int
    content: str
    """SHA-256 of one line for each file, ordered by path: the file's SHA-256, two spaces, its path. It does not depend
    on how the archive was packed."""
    folders: dict[str, list[int]]
    """`count_by_folder` of the files."""


def count_by_folder(files: FileSizes) -> dict[str, list[int]]:
    """Number and bytes of the files in each folder, by its path. Folders below the second level count as that one.

    Archives of one corpus may share files, such as `LibriSpeech/SPEAKERS.TXT`, which are once in the folder.

    Args:
        files: Path and bytes of each file.
    """
    counts: dict[str, list[int]] = {}
    for path, num_bytes in files:
        count = counts.setdefault("/".join(path.split("/")[:-1][:2]), [0, 0])
        count[0] += 1
        count[1] += num_bytes
    return counts


def unpack(file: Path, folder: Path | None, *, strip: int = 0, progress: Progress = SILENT) -> Unpacked:
    """Unpack a `.tar` or `.tar.gz` into a folder. Files that are there are replaced.

    Args:
        file: The archive.
        folder: Local folder; None only reads the archive.
        strip: Folders at the head of each name that are left out.
        progress: Where to report how many files are written.

    Raises:
        DataError: The archive is damaged or no archive; or holds a name that leads out of the folder, a link, a device,
            or more than a corpus would. Files before that are written.
        StorageError: The folder cannot be written.
    """
    hashes: dict[str, str] = {}
    sizes: dict[str, int] = {}
    with progress.stage(f"{'unpacking' if folder else 'checking'} {file.name}", unit="file") as stage:
        for member, data in read_members(Location(file)):
            path = PurePosixPath(*PurePosixPath(member.name).parts[strip:])
            if not path.parts:
                continue
            digest = hashlib.sha256()
            with _written(folder, path) as write:
                for chunk in data:
                    digest.update(chunk)
                    write(chunk)
            hashes[str(path)], sizes[str(path)] = digest.hexdigest(), member.size
            stage.advance()
    lines = (f"{digest}  {path}\n" for path, digest in sorted(hashes.items()))
    return Unpacked(
        num_files=len(sizes),
        num_bytes=sum(sizes.values()),
        content=hashlib.sha256("".join(lines).encode()).hexdigest(),
        folders=count_by_folder(list(sizes.items())),
    )


@contextmanager
def _written(folder: Path | None, path: PurePosixPath) -> Iterator[Callable[[bytes], object]]:
    """What writes chunks of a file, or nothing without a folder."""
    if folder is None:
        yield lambda chunk: None
        return
    target = folder / path
    with storage_errors("write", str(target), kinds=(OSError,)):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as out:
            yield out.write
