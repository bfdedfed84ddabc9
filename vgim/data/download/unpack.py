"""Unpack an archive that nobody has vouched for: files and folders below one folder, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vgim.data.archives.members import read_members
from vgim.progress import SILENT, Progress
from vgim.storage import Location
from vgim.storage.errors import storage_errors


@dataclass(frozen=True)
class Unpacked:
    """What an archive held."""

    num_files: int
    num_bytes: int
    content: str
    """SHA-256 of one line for each file, ordered by path: the file's SHA-256, two spaces, its path. It does not depend
    on how the archive was packed."""


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
    num_bytes = 0
    with progress.stage(f"{'unpacking' if folder else 'checking'} {file.name}", unit="file") as stage:
        for member, data in read_members(Location(file)):
            path = PurePosixPath(*PurePosixPath(member.name).parts[strip:])
            if not path.parts:
                continue
            digest = hashlib.sha256()
            with _written(folder, path) as write:
                for chunk in data:
                    digest.update(chunk)
                    num_bytes += len(chunk)
                    write(chunk)
            hashes[str(path)] = digest.hexdigest()
            stage.advance()
    lines = (f"{digest}  {path}\n" for path, digest in sorted(hashes.items()))
    return Unpacked(len(hashes), num_bytes, hashlib.sha256("".join(lines).encode()).hexdigest())


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
