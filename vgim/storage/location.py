"""A handle for a file or folder by path or URI, and all that vgim does with one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from pyarrow import fs as pafs

from vgim.errors import StorageError
from vgim.storage.atomic import TEMPORARY_MARK, renamed_at_end
from vgim.storage.errors import storage_errors
from vgim.storage.filesystems import local_filesystem, remote_filesystem

COPY_CHUNK_BYTES = 8 * 1024 * 1024

Names = list[str]
FileSizes = list[tuple[str, int]]


@dataclass(frozen=True, init=False, order=True)
class Location:
    """A file or folder, by absolute path or URI.

    Made from a path (`~` and relative paths are resolved), a `file://` URI (which becomes a path), a URI of any
    scheme that pyarrow.fs knows, or another Location.
    """

    uri: str
    """Absolute path on local storage, otherwise the URI without a slash at the end."""

    def __init__(self, where: str | os.PathLike[str] | Location) -> None:
        text = where.uri if isinstance(where, Location) else os.fspath(where)
        if not text.strip():
            raise StorageError("the location is empty; give a path or a URI such as s3://bucket/folder")
        if "://" not in text:
            text = str(Path(os.path.abspath(os.path.expanduser(text))))  # noqa: PTH100, PTH111 (no symlinks)
        elif text.startswith("file://"):
            text = os.path.abspath(unquote(urlsplit(text).path))  # noqa: PTH100
        else:
            parts = urlsplit(text)
            text = parts._replace(path=parts.path.rstrip("/")).geturl()
        object.__setattr__(self, "uri", text)

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
        return self._open()[1]

    def _open(self) -> tuple[pafs.FileSystem, str]:
        if self.is_local:
            return local_filesystem(), self.uri
        split = urlsplit(self.uri)
        filesystem, root = remote_filesystem(split._replace(path="/" if not split.netloc else "").geturl())
        key = split.path.strip("/")
        return filesystem, f"{root.rstrip('/')}/{key}" if root.strip("/") else key

    def _info(self) -> pafs.FileInfo:
        filesystem, path = self._open()
        with storage_errors("look up", self.uri):
            return filesystem.get_file_info(path)

    def exists(self) -> bool:
        """Whether there is a file or folder."""
        return bool(self._info().type != pafs.FileType.NotFound)

    def is_dir(self) -> bool:
        """Whether there is a folder."""
        return bool(self._info().type == pafs.FileType.Directory)

    def size(self) -> int:
        """Size in bytes of the file, or of all files below the folder."""
        info = self._info()
        if info.type == pafs.FileType.NotFound:
            raise StorageError(f"cannot read the size of {self.uri}: there is no such file; check the path")
        if info.type != pafs.FileType.Directory:
            return int(info.size)
        filesystem, path = self._open()
        with storage_errors("list", self.uri):
            inside = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
        return sum(int(entry.size or 0) for entry in inside if entry.is_file)

    def list(self) -> Names:
        """Names of the children, sorted, without unfinished writes; empty if there is no such folder."""
        filesystem, path = self._open()
        with storage_errors("list", self.uri):
            entries = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
        return sorted(entry.base_name for entry in entries if TEMPORARY_MARK not in entry.base_name)

    def list_files(self) -> FileSizes:
        """Path below the folder and bytes of each file in it, at any depth, sorted; empty if there is no folder."""
        filesystem, path = self._open()
        base = path.rstrip("/")
        with storage_errors("list", self.uri):
            entries = filesystem.get_file_info(pafs.FileSelector(base, recursive=True, allow_not_found=True))
        return sorted(
            (entry.path[len(base) :].lstrip("/"), int(entry.size)) for entry in entries if entry.is_file
        )

    def open_input(self) -> Any:
        """Open the file for reading: a seekable binary file (pyarrow.NativeFile), to be closed or used in `with`."""
        filesystem, path = self._open()
        with storage_errors("read", self.uri):
            return filesystem.open_input_file(path)

    def read_bytes(self) -> bytes:
        """Read the whole file."""
        filesystem, path = self._open()
        with storage_errors("read", self.uri), filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    def read_text(self) -> str:
        """Read the whole file as UTF-8.

        Raises:
            StorageError: The file cannot be read, or is not UTF-8.
        """
        try:
            return self.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise StorageError(f"cannot read {self.uri} as text: {error.reason}; it must be UTF-8") from error

    def write_bytes_atomic(self, data: bytes) -> None:
        """Write the file whole or not at all; missing folders above it are made."""
        with self.atomic_output() as out:
            out.write(data)

    @contextmanager
    def atomic_output(self) -> Iterator[IO[bytes]]:
        """A binary file to write, which appears under its name only if the `with` block ends without an error.

        A local file is written beside the target, synced and renamed. Elsewhere the content is spooled to a local
        temporary file and uploaded at the end, since closing a half-written stream would publish half a file.
        """
        if self.is_local:
            with storage_errors("write", self.uri), renamed_at_end(Path(self.uri)) as out:
                yield out
            return
        filesystem, path = self._open()
        with storage_errors("write", self.uri), tempfile.TemporaryFile() as spool:
            yield spool
            spool.seek(0)
            self.parent.make_dirs()
            with filesystem.open_output_stream(path) as sink:
                shutil.copyfileobj(spool, sink, COPY_CHUNK_BYTES)

    def make_dirs(self) -> None:
        """Make the folder and the folders above it, if they are missing. Object stores need none."""
        filesystem, path = self._open()
        if path.strip("/"):
            with storage_errors("make the folder", self.uri):
                filesystem.create_dir(path, recursive=True)

    def delete(self) -> None:
        """Remove the file, or the folder with its content, if there is one."""
        filesystem, path = self._open()
        kind = self._info().type
        with storage_errors("delete", self.uri):
            if kind == pafs.FileType.Directory:
                filesystem.delete_dir(path)
            elif kind != pafs.FileType.NotFound:
                filesystem.delete_file(path)

    def move(self, to: Location) -> None:
        """Rename the file or folder, replacing a file of the new name. Only atomic on local storage."""
        with storage_errors("move", f"{self.uri} to {to.uri}"):
            if self.is_local and to.is_local:
                to.local_path.parent.mkdir(parents=True, exist_ok=True)
                self.local_path.replace(to.local_path)
                return
            # Object stores have no rename for folders: copy, then delete.
            to.parent.make_dirs()
            if self.is_dir():
                to.make_dirs()
                _copy_tree(self, to)
            else:
                pafs.copy_files(
                    self.fs_path,
                    to.fs_path,
                    source_filesystem=self.filesystem,
                    destination_filesystem=to.filesystem,
                )
            self.delete()

    def upload_dir(self, local_dir: str | os.PathLike[str]) -> None:
        """Copy the content of `local_dir` into this folder. Not atomic: write a marker file afterwards."""
        with storage_errors("upload to", self.uri):
            self.make_dirs()
            _copy_tree(Location(local_dir), self)

    def download_to(self, local_dir: str | os.PathLike[str]) -> None:
        """Copy the content of this folder into `local_dir`."""
        if not self.exists():
            raise StorageError(f"cannot download {self.uri}: there is no such folder; check the path")
        with storage_errors("download", self.uri):
            Location(local_dir).make_dirs()
            _copy_tree(self, Location(local_dir))


def _copy_tree(source: Location, target: Location) -> None:
    pafs.copy_files(
        source.fs_path,
        target.fs_path,
        source_filesystem=source.filesystem,
        destination_filesystem=target.filesystem,
    )
