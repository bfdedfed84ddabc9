"""Arrow's local file system, made of Python's functions, so that `tests.chaos.operations` sees what it does."""

# These are the functions that pathlib calls.
# ruff: noqa: PTH103, PTH102, PTH106, PTH208, PTH118, PTH112, PTH114, PTH108, PTH105, PTH123

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pyarrow
from pyarrow import fs

if TYPE_CHECKING:
    from tests.chaos.operations import Watch


class WatchedFiles(fs.FileSystemHandler):
    """Reads through Arrow's own file system, and writes through Python's `os`."""

    def __init__(self, real: Any, watch: Watch) -> None:
        self.real, self.watch = real, watch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WatchedFiles)

    def __hash__(self) -> int:
        return hash(WatchedFiles)

    def get_type_name(self) -> str:
        return "watched"

    def normalize_path(self, path: str) -> str:
        return str(self.real.normalize_path(path))

    def get_file_info(self, paths: list[str]) -> Any:
        return self.real.get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        return self.real.get_file_info(selector)

    def create_dir(self, path: str, recursive: bool) -> None:
        if recursive:
            os.makedirs(path, exist_ok=True)
        else:
            os.mkdir(path)

    def delete_dir(self, path: str) -> None:
        self.delete_dir_contents(path, False)
        os.rmdir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool) -> None:
        try:
            names = sorted(os.listdir(path))
        except FileNotFoundError:
            if missing_dir_ok:
                return
            raise
        for name in names:
            inside = os.path.join(path, name)
            if os.path.isdir(inside) and not os.path.islink(inside):
                self.delete_dir(inside)
            else:
                os.unlink(inside)

    def delete_root_dir_contents(self) -> None:
        raise AssertionError("nothing may delete all files of a machine")

    def delete_file(self, path: str) -> None:
        os.unlink(path)

    def move(self, source: str, target: str) -> None:
        os.replace(source, target)

    def copy_file(self, source: str, target: str) -> None:
        with open(source, "rb") as read, open(target, "wb") as written:
            written.write(read.read())

    def open_input_stream(self, path: str) -> Any:
        self.watch.at("read", path)
        return self.real.open_input_stream(path)

    def open_input_file(self, path: str) -> Any:
        self.watch.at("read", path)
        return self.real.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return pyarrow.PythonFile(open(path, "wb"), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        return pyarrow.PythonFile(open(path, "ab"), mode="w")


def use_watched_files(watch: Watch) -> None:
    """Let vgim's local locations use watched files in this process."""
    from vgim.storage.filesystems import local_filesystem

    real = fs.LocalFileSystem
    watched = fs.PyFileSystem(WatchedFiles(real(), watch))
    local_filesystem.cache_clear()
    fs.LocalFileSystem = lambda: watched  # type: ignore[misc]
    try:
        local_filesystem()  # it keeps what it opens first
    finally:
        fs.LocalFileSystem = real  # type: ignore[misc]
