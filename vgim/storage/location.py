"""A handle for a file or folder by path or URI, and all that vgim does with one."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from vgim.errors import StorageError
from vgim.storage.atomic import TEMPORARY_MARK, renamed_at_end
from vgim.storage.errors import storage_errors
from vgim.storage.exclusive import create_by_intent, create_by_link
from vgim.storage.files import COPY_CHUNK_BYTES, Files, Found, Kind
from vgim.storage.local_files import LocalFiles
from vgim.storage.temporary import temporary_place
from vgim.storage.uri import normal_uri

if TYPE_CHECKING:
    from pyarrow import fs as pafs

COPIES_AT_ONCE = 8

T = TypeVar("T")
Names = list[str]
Bytes = bytes | memoryview
FileSizes = list[tuple[str, int]]


class Entry(NamedTuple):
    """A file or folder somewhere below a folder."""

    path: str
    """Path below the folder."""
    is_dir: bool
    num_bytes: int
    """Size of a file; 0 for a folder."""
    mtime_ns: int
    """Time of the last change, in nanoseconds since 1970."""


@dataclass(frozen=True, init=False, order=True)
class Location:
    """A file or folder, by absolute path or URI.

    Made from a path (`~` and relative paths are resolved), a `file://` URI (which becomes a path), a URI of any
    scheme that pyarrow.fs knows, or another Location. A URI must hold no password or key.
    """

    uri: str
    """Absolute path on local storage, otherwise the URI without a slash at the end."""

    def __init__(self, where: str | os.PathLike[str] | Location) -> None:
        text = where.uri if isinstance(where, Location) else os.fspath(where)
        object.__setattr__(self, "uri", normal_uri(text))

    def __str__(self) -> str:
        return self.uri

    @property
    def is_local(self) -> bool:
        """Whether the location is a path on this machine, NFS included."""
        return "://" not in self.uri

    @property
    def local_path(self) -> Path:
        """The path of a local location.

        Raises:
            StorageError: The location is not local.
        """
        if not self.is_local:
            raise StorageError(f"{self.uri} is not a local path; download it first or give a path")
        return Path(self.uri)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.uri.partition("?")[0].rstrip("/").rpartition("/")[2]

    @property
    def parent(self) -> Location:
        """The folder that contains this file or folder."""
        parts = urlsplit(self.uri) if not self.is_local else None
        if parts is None:
            return Location(Path(self.uri).parent)
        return Location(parts._replace(path=parts.path.rpartition("/")[0]).geturl())

    def child(self, *parts: str) -> Location:
        """The location below this one; a part may contain slashes."""
        tail = "/".join(part.strip("/") for part in parts)
        if self.is_local:
            return Location(Path(self.uri) / tail)
        split = urlsplit(self.uri)
        return Location(split._replace(path=f"{split.path}/{tail}").geturl())

    @property
    def filesystem(self) -> pafs.FileSystem:
        """The pyarrow filesystem, one per scheme and authority in this process."""
        return self._open()[0]

    @property
    def fs_path(self) -> str:
        """The path in `filesystem`, for pyarrow's readers."""
        return self.uri if self.is_local else self._open()[1]

    def _open(self) -> tuple[pafs.FileSystem, str]:
        from vgim.storage import filesystems

        if self.is_local:
            return filesystems.local_filesystem(), self.uri
        split = urlsplit(self.uri)
        base = split._replace(path="/" if not split.netloc else "").geturl()
        filesystem, root = filesystems.remote_filesystem(base)
        key = split.path.strip("/")
        return filesystem, f"{root.rstrip('/')}/{key}" if root.strip("/") else key

    def attempt(self, action: str, operation: Callable[[pafs.FileSystem, str], T]) -> T:
        """Call an operation with the filesystem and the path in it; on remote storage again, while it may succeed.

        Args:
            action: A verb for errors and log lines: `read`.
            operation: Must leave the same result however often it is called.

        Raises:
            StorageError: The operation failed.
        """
        from vgim.storage.filesystems import storage_of
        from vgim.storage.retry import with_retries

        filesystem, path = self._open()
        with storage_errors(action, self.uri):
            if self.is_local:
                return operation(filesystem, path)
            return with_retries(
                lambda: operation(filesystem, path), action=action, uri=self.uri, storage=storage_of(self.uri)
            )

    def _ask(self, action: str, question: Callable[[Files], T]) -> T:
        """As `attempt`, with the local or remote path as `Files`."""
        if self.is_local:
            with storage_errors(
                action, self.uri, kinds=(OSError, ValueError)
            ):  # NUL in a path is a ValueError
                return question(LocalFiles(self.uri))
        from vgim.storage.arrow_files import ArrowFiles

        return self.attempt(action, lambda filesystem, path: question(ArrowFiles(filesystem, path)))

    def _look_up(self) -> Found:
        return self._ask("look up", lambda files: files.look_up())

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        return self._look_up().kind is not Kind.MISSING

    def is_dir(self) -> bool:
        """Whether there is a folder."""
        return self._look_up().kind is Kind.FOLDER

    def size(self) -> int:
        """Size in bytes of the file, or of all files below the folder.

        Raises:
            StorageError: There is no such file or folder, or the storage cannot be read.
        """
        found = self._look_up()
        if found.kind is Kind.MISSING:
            raise StorageError(f"cannot read the size of {self.uri}: there is no such file; check the path")
        if found.kind is not Kind.FOLDER:
            return found.num_bytes
        return sum(num_bytes for _, num_bytes in self.list_files())

    def stamp(self) -> str:
        """When a local file was changed last; empty for a file that is not there, and on other storage."""
        if not self.is_local:
            return ""  # it would take a request for each file
        try:
            return str(self.local_path.stat().st_mtime_ns)
        except OSError:
            return ""

    def list(self) -> Names:
        """Names of the children, sorted, without unfinished writes; empty if there is no such folder."""
        names = [entry.path for entry in self._entries(recursive=False)]
        return sorted(name for name in names if TEMPORARY_MARK not in name)

    def list_files(self) -> FileSizes:
        """Path below the folder and bytes of each file in it, at any depth, sorted; empty if there is no folder."""
        entries = self._entries(recursive=True)
        return sorted((entry.path, entry.num_bytes) for entry in entries if entry.kind is Kind.FILE)

    def walk(self, *, recursive: bool = True) -> Iterator[Entry]:
        """All files and folders below the folder, from one call to storage; none if there is no folder.

        Args:
            recursive: False lists the folder's own children only.
        """
        for path, kind, num_bytes, mtime_ns in self._entries(recursive=recursive):
            if kind is not Kind.MISSING:  # deleted while the folder was listed
                yield Entry(path, kind is not Kind.FILE, num_bytes, mtime_ns or 0)

    def _entries(self, *, recursive: bool) -> Sequence[Found]:
        return self._ask("list", lambda files: files.entries(recursive=recursive))

    def open_input(self) -> Any:
        """Open the file for reading: a seekable binary file (pyarrow.NativeFile), to be closed or used in `with`.

        A read of a remote file that loses its connection is repeated.
        """
        if self.is_local:
            self._refuse_special_file()
            return self.attempt("read", lambda filesystem, path: filesystem.open_input_file(path))
        import pyarrow as pa

        from vgim.storage.remote_input import RemoteInput

        filesystem, path = self._open()
        source = RemoteInput(
            lambda: filesystem.open_input_file(path),
            lambda operation: self.attempt("read", lambda _filesystem, _path: operation()),
        )
        return pa.PythonFile(source, mode="r")

    def read_bytes(self) -> bytes:
        """Read the whole file."""
        self._refuse_special_file()
        return self._ask("read", lambda files: files.read())

    def _refuse_special_file(self) -> None:
        """Raise StorageError for a pipe, a socket or a device: reading one may wait for ever, or never end."""
        if not self.is_local:
            return
        with suppress(OSError, ValueError):  # what cannot be looked up is reported by the read
            mode = self.local_path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise StorageError(f"cannot read {self.uri}: it is a pipe, a socket or a device; give a file")

    def read_text(self) -> str:
        """Read the whole file as UTF-8.

        Raises:
            StorageError: The file cannot be read, or is not UTF-8.
        """
        try:
            return self.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise StorageError(f"cannot read {self.uri} as text: {error.reason}; it must be UTF-8") from error

    def write_bytes_atomic(self, data: Bytes) -> None:
        """Write the file whole or not at all; missing folders above it are made."""
        if self.is_local:
            with self.atomic_output() as out:
                out.write(data)
        else:
            import pyarrow as pa

            self.put(pa.BufferReader(data))  # which copies nothing

    @contextmanager
    def atomic_output(self) -> Iterator[IO[bytes]]:
        """A binary file to write, which appears under its name only if the `with` block ends without an error.

        A local file is written beside the target, synced and renamed. Elsewhere the content is spooled to a local
        temporary file and uploaded at the end, since closing a half-written stream would publish half a file.
        """
        if self.is_local:
            with storage_errors("write", self.uri, kinds=(OSError,)), renamed_at_end(Path(self.uri)) as out:
                yield out
            return
        place = f"{temporary_place()} on the way to {self.uri}"
        with storage_errors("write", place, kinds=(OSError,)), tempfile.TemporaryFile() as spool:
            yield spool
            spool.flush()
            self.put(spool)

    def put(self, source: IO[bytes]) -> None:
        """Write a remote file from a seekable one, all of it; a put that fails is repeated from the start."""
        from vgim.storage.whole_files import write_whole

        def put(filesystem: pafs.FileSystem, path: str) -> None:
            source.seek(0)
            try:
                write_whole(filesystem, path, source)
            except FileNotFoundError:  # not on object stores, which need no folders
                filesystem.create_dir(path.rpartition("/")[0], recursive=True)
                source.seek(0)
                write_whole(filesystem, path, source)

        self.attempt("write", put)

    def create_exclusive(self, data: bytes) -> bool:
        """Make a file that must not exist yet, whole or not at all; missing folders above it are made.

        Of several processes that make the same file at once, one succeeds. `data` must differ from what the others
        would write.

        Returns:
            False if there is a file of that name.

        Raises:
            StorageError: The file cannot be written.
        """
        if self.is_local:
            with storage_errors("write", self.uri, kinds=(OSError,)):
                return create_by_link(Path(self.uri), data)
        return create_by_intent(self, data)

    def modified_at(self) -> float | None:
        """Seconds since 1970, by the storage's clock, at which the file was written; None if it is not known."""
        mtime_ns = self._look_up().mtime_ns
        return None if mtime_ns is None else mtime_ns / 1e9

    def make_dirs(self) -> None:
        """Make the folder and the folders above it, if they are missing. Object stores need none."""
        self._ask("make the folder", lambda files: files.make_folder())

    def delete(self) -> None:
        """Remove the file, or the folder with its content, if there is one."""
        self._ask("delete", lambda files: files.delete())

    def move(self, to: Location) -> None:
        """Rename the file or folder, replacing a file of the new name. Only atomic on local storage."""
        if self.is_local and to.is_local:
            with storage_errors("move", f"{self.uri} to {to.uri}"):
                to.local_path.parent.mkdir(parents=True, exist_ok=True)
                self.local_path.replace(to.local_path)
            return
        # Object stores have no rename for folders: copy, then delete.
        if self.is_dir():
            _copy_tree(self, to)
        else:
            _copy_file(self, to)
        self.delete()

    def upload_dir(self, local_dir: str | os.PathLike[str]) -> None:
        """Copy the content of `local_dir` into this folder. Not atomic: write a marker file afterwards."""
        _copy_tree(Location(local_dir), self)

    def download_to(self, local_dir: str | os.PathLike[str]) -> None:
        """Copy the content of this folder into `local_dir`.

        Raises:
            StorageError: There is no such folder, or a file cannot be read or written.
        """
        if not self.exists():
            raise StorageError(f"cannot download {self.uri}: there is no such folder; check the path")
        _copy_tree(self, Location(local_dir))


def _copy_tree(source: Location, target: Location) -> None:
    """Copy each file below a folder, several at once, since each waits for storage."""
    from concurrent.futures import ThreadPoolExecutor

    target.make_dirs()
    names = [name for name, _ in source.list_files()]
    with ThreadPoolExecutor(max_workers=COPIES_AT_ONCE) as pool:
        copies = [pool.submit(_copy_file, source.child(name), target.child(name)) for name in names]
        try:
            for copy in copies:
                copy.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy_file(source: Location, target: Location) -> None:
    with source.open_input() as stream:
        if target.is_local:
            with target.atomic_output() as out:
                shutil.copyfileobj(stream, out, COPY_CHUNK_BYTES)
        else:
            target.put(stream)
