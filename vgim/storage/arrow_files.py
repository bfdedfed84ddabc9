"""Files on any storage that pyarrow.fs reads."""

from __future__ import annotations

from collections.abc import Sequence

from pyarrow import fs as pafs

from vgim.storage.files import Found, Kind
from vgim.storage.whole_files import read_whole

_KINDS = {
    pafs.FileType.NotFound: Kind.MISSING,
    pafs.FileType.File: Kind.FILE,
    pafs.FileType.Directory: Kind.FOLDER,
    pafs.FileType.Unknown: Kind.OTHER,
}


class ArrowFiles:
    """A path in a filesystem of Arrow: `Files`.

    Args:
        filesystem: The filesystem.
        path: Path in it.
    """

    def __init__(self, filesystem: pafs.FileSystem, path: str) -> None:
        self._filesystem, self._path = filesystem, path

    def look_up(self) -> Found:
        return _found("", self._filesystem.get_file_info(self._path))

    def entries(self, *, recursive: bool) -> list[Found]:
        folder = self._path.rstrip("/")
        selector = pafs.FileSelector(
            folder if recursive else self._path, recursive=recursive, allow_not_found=True
        )
        infos: Sequence[pafs.FileInfo] = self._filesystem.get_file_info(selector)
        return [_found(info.path[len(folder) :].strip("/"), info) for info in infos]

    def read(self) -> bytes:
        return read_whole(self._filesystem, self._path)

    def make_folder(self) -> None:
        if self._path.strip("/"):
            self._filesystem.create_dir(self._path, recursive=True)

    def delete(self) -> None:
        kind = self.look_up().kind  # anew in each attempt: the one before may have deleted it
        if kind is Kind.FOLDER:
            self._filesystem.delete_dir(self._path)
        elif kind is not Kind.MISSING:
            self._filesystem.delete_file(self._path)


def _found(path: str, info: pafs.FileInfo) -> Found:
    return Found(path, _KINDS[info.type], int(info.size or 0), info.mtime_ns)
