"""A folder on a node's own disk that holds copies of shards, shared by all processes of the node.

A copy's name is the SHA-256 of its content, so that shards of equal names never meet, and a shard of two folders is
held once. A copy gets its name when all of it is written and its hash is right. Locks are the system's (`flock`): they
end with the process that holds them.

    FOLDER/HASH.parquet    a copy
    FOLDER/.HASH.parquet.tmp-…    a copy that is being written
    FOLDER/use-KEY.json    hashes of the shards of a folder; locked by the processes that read it, changed as they begin
    FOLDER/lock-XX         held by the process that writes a copy whose hash begins with XX
    FOLDER/lock            held while room is made
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from vgim.data.shards.file_entry import FileEntry
from vgim.storage import COPY_CHUNK_BYTES
from vgim.storage.atomic import locked_temporary, remove_if_left, renamed_at_end, sync_folder

COPY = re.compile(r"([0-9a-f]{64})\.parquet")
"""Name of a copy. Nothing of another name is ever removed, but for what a killed process left."""
USE = re.compile(r"use-[0-9a-f]{16}\.json")


class Source(Protocol):
    """A shard that is read from its start."""

    def read(self, num_bytes: int, /) -> bytes: ...


class OtherContentError(Exception):
    """A source has another hash or size than its manifest says."""


@dataclass(frozen=True)
class CacheFolder:
    """The folder.

    Every method raises OSError where the folder cannot be read or written.

    Attributes:
        path: The folder.
        limit_bytes: Bytes that all copies together may have.
    """

    path: Path
    limit_bytes: int

    def copy_of(self, entry: FileEntry) -> Path | None:
        """The copy of a shard, if there is one of its size; its content is not read."""
        path = self._path_of(entry)
        with suppress(FileNotFoundError, NotADirectoryError):
            if path.stat().st_size == entry.bytes:
                return path
        return None

    def fill(
        self, entry: FileEntry, open_source: Callable[[], AbstractContextManager[Source]]
    ) -> Path | None:
        """Copy a shard, unless another process just did, which is waited for; None if there is no room.

        Args:
            entry: Size and hash of the shard.
            open_source: Opens the shard, to be used in `with`.

        Raises:
            OtherContentError: The source is not the shard; no copy is made.
        """
        path = self._path_of(entry)
        self.path.mkdir(parents=True, exist_ok=True)
        with self._locked(f"lock-{entry.sha256[:2]}"):
            if (found := self.copy_of(entry)) is not None:
                return found
            with ExitStack() as stack:
                with self._locked("lock"):
                    path.unlink(missing_ok=True)  # of another size
                    if not self._make_room(entry.bytes):
                        return None
                    temporary, out = stack.enter_context(locked_temporary(path))
                    out.truncate(entry.bytes)  # counts for those who make room meanwhile
                _copy(stack.enter_context(open_source()), out, entry)
                temporary.replace(path)
            sync_folder(self.path)
        return path

    def drop(self, entry: FileEntry, is_same: Callable[[os.stat_result], bool]) -> None:
        """Remove the copy of a shard if it is still the file that `is_same` knows."""
        path = self._path_of(entry)
        with self._locked(f"lock-{entry.sha256[:2]}"), suppress(FileNotFoundError):
            if is_same(path.stat()):
                path.unlink()

    def begin_use(self, hashes: Sequence[str]) -> int:
        """Keep shards from being removed while this process lives; returns the descriptor that does."""
        self.path.mkdir(parents=True, exist_ok=True)
        content = json.dumps(sorted(hashes)).encode()
        path = self.path / f"use-{hashlib.sha256(content).hexdigest()[:16]}.json"
        while True:
            try:
                if path.exists():
                    os.utime(path)
                else:
                    with renamed_at_end(path) as out:
                        out.write(content)
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue  # it was removed as unused before it was locked
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            with suppress(FileNotFoundError):
                if os.path.samestat(path.stat(), os.fstat(descriptor)):
                    return descriptor
            os.close(descriptor)

    def _path_of(self, entry: FileEntry) -> Path:
        return self.path / f"{entry.sha256}.parquet"

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        with (self.path / name).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make_room(self, num_bytes: int) -> bool:
        """Remove copies that no live process uses, those first that have not been used for longest.

        Returns:
            Whether there is room for so many bytes. If there cannot be, nothing is removed.
        """
        sizes: dict[str, int] = {}
        changed: dict[str, float] = {}
        unfinished = 0
        for item in list(os.scandir(self.path)):
            match = COPY.fullmatch(item.name)
            with suppress(FileNotFoundError):
                if match:
                    sizes[match[1]], changed[match[1]] = item.stat().st_size, item.stat().st_mtime
                elif ".parquet.tmp-" in item.name:
                    remove_if_left(Path(item.path))
                    unfinished += Path(item.path).stat().st_size
        missing = sum(sizes.values()) + unfinished + num_bytes - self.limit_bytes
        if missing <= 0:
            return True
        used, last_use = self._uses(sizes)
        unused = sorted(
            (sha256 for sha256 in sizes if sha256 not in used),
            key=lambda sha256: (last_use.get(sha256, changed[sha256]), sha256),
        )
        if sum(sizes[sha256] for sha256 in unused) < missing:
            return False
        for sha256 in unused:
            (self.path / f"{sha256}.parquet").unlink(missing_ok=True)
            missing -= sizes[sha256]
            if missing <= 0:
                break
        return True

    def _uses(self, sizes: dict[str, int]) -> tuple[set[str], dict[str, float]]:
        """Hashes of the shards that live processes use, and when the use of each shard began last."""
        used: set[str] = set()
        last_use: dict[str, float] = {}
        for item in list(os.scandir(self.path)):
            if not USE.fullmatch(item.name):
                continue
            with suppress(FileNotFoundError), Path(item.path).open("rb") as file:
                hashes = _hashes(file.read())
                for sha256 in hashes:
                    last_use[sha256] = max(last_use.get(sha256, 0.0), item.stat().st_mtime)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    used.update(hashes)
                else:
                    if not hashes & sizes.keys():
                        Path(item.path).unlink(missing_ok=True)
        return used, last_use


def _copy(source: Source, out: IO[bytes], entry: FileEntry) -> None:
    digest, num_bytes = hashlib.sha256(), 0
    while chunk := source.read(COPY_CHUNK_BYTES):
        digest.update(chunk)
        num_bytes += len(chunk)
        if num_bytes > entry.bytes:
            break
        out.write(chunk)
    if num_bytes != entry.bytes or digest.hexdigest() != entry.sha256:
        raise OtherContentError
    out.flush()
    os.fsync(out.fileno())


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes(content: bytes) -> set[str]:
    """The hashes of a file of uses; none if it is damaged."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return set()
    return {str(one) for one in found} if isinstance(found, list) else set()
