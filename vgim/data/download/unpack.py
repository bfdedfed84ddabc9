"""Unpack an archive that nobody has vouched for: files and folders below one folder, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vgim.errors import DataError
from vgim.progress import SILENT, Progress
from vgim.storage.errors import storage_errors
from vgim.text import shorten

MAX_FILES = 2_000_000
MAX_RATIO = 50
"""Bytes that an archive's byte may become. Speech packed as FLAC does not shrink, and as WAV to half at best."""
MIN_ALLOWED_BYTES = 1 << 30
"""Bytes that any archive may become, however small it is."""
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Unpacked:
    """What an archive held."""

    num_files: int
    num_bytes: int
    content: str
    """SHA-256 of one line for each file, ordered by path: the file's SHA-256, two spaces, its path. It does not depend
    on how the archive was packed."""


def unpack(file: Path, folder: Path, *, strip: int = 0, progress: Progress = SILENT) -> Unpacked:
    """Unpack a `.tar.gz` into a folder. Files that are there are replaced.

    Args:
        file: The archive.
        folder: Local folder.
        strip: Folders at the head of each name that are left out.
        progress: Where to report how many files are written.

    Raises:
        DataError: The archive is damaged or no archive; or holds a name that leads out of the folder, a link, a device,
            or more than a corpus would. Files before that are written.
        StorageError: The folder cannot be written.
    """
    hashes: dict[str, str] = {}
    num_bytes = 0
    with progress.stage(f"unpacking {file.name}", unit="file") as stage:
        for member, data in _members(file):
            path = PurePosixPath(*PurePosixPath(member.name).parts[strip:])
            if not path.parts:
                continue
            digest = hashlib.sha256()
            target = folder / path
            with storage_errors("write", str(target), kinds=(OSError,)):
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as out:
                    for chunk in data:
                        digest.update(chunk)
                        num_bytes += out.write(chunk)
            hashes[str(path)] = digest.hexdigest()
            stage.advance()
    lines = (f"{digest}  {path}\n" for path, digest in sorted(hashes.items()))
    return Unpacked(len(hashes), num_bytes, hashlib.sha256("".join(lines).encode()).hexdigest())


def _members(file: Path) -> Iterator[tuple[tarfile.TarInfo, Iterator[bytes]]]:
    """The regular files of an archive and their content, in the archive's order; the rest is refused."""
    allowed = max(file.stat().st_size * MAX_RATIO, MIN_ALLOWED_BYTES)
    num_bytes = 0
    # tarfile's own reading of gzip takes a file that breaks off for one that ends.
    with _damage_told(file), gzip.open(file) as unzipped, tarfile.open(fileobj=unzipped, mode="r|") as tar:
        for number, member in enumerate(tar):
            num_bytes += member.size
            if number >= MAX_FILES or num_bytes > allowed:
                raise DataError(
                    f"{file} would unpack to more than {MAX_FILES:,} files or {allowed:,} bytes, which no corpus of "
                    "its size does; remove it"
                )
            _refuse(member, file)
            if member.isreg():
                yield member, _chunks(tar, member, file)
        while unzipped.read(CHUNK_BYTES):  # to the checksum at the end
            pass


def _chunks(tar: tarfile.TarFile, member: tarfile.TarInfo, file: Path) -> Iterator[bytes]:
    with _damage_told(file):
        content = tar.extractfile(member)
        assert content is not None
        while chunk := content.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def _damage_told(file: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{file} is damaged or no .tar.gz ({error}); remove it and download it again"
        ) from error


def _refuse(member: tarfile.TarInfo, file: Path) -> None:
    name = member.name
    reason = ""
    if not (member.isreg() or member.isdir()):
        reason = "is a link" if member.issym() or member.islnk() else "is neither a file nor a folder"
    elif name.startswith(("/", "\\")) or ":" in name.partition("/")[0]:
        reason = "has an absolute name"
    elif ".." in PurePosixPath(name.replace("\\", "/")).parts:
        reason = "leads out of the folder"
    elif "\0" in name or len(name.encode(errors="surrogateescape")) > 1000:
        reason = "has no possible name"
    if reason:
        raise DataError(f"{file}: {shorten(name)!r} {reason}, which no corpus needs; remove the archive")
