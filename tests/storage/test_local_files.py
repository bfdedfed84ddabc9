"""Local files: the same answers as from Arrow's local file system, without Arrow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vgim.errors import StorageError
from vgim.storage import Location
from vgim.storage.arrow_files import ArrowFiles
from vgim.storage.files import Files
from vgim.storage.filesystems import local_filesystem
from vgim.storage.local_files import LocalFiles

Make = Callable[[Path], Files]
PATHS = ["", "b", "f", "f/below", "no", "no/x", "link", "folder-link", "dangling", "self", "fifo", "b" * 300]


def local(path: Path) -> Files:
    return LocalFiles(str(path))


def arrow(path: Path) -> Files:
    return ArrowFiles(local_filesystem(), str(path))


def make_tree(root: Path) -> Path:
    (root / "b" / "c").mkdir(parents=True)
    (root / "f").write_bytes(b"123")
    (root / "b" / "g").write_bytes(b"4")
    for name, target in (("link", "f"), ("folder-link", "b"), ("dangling", "no"), ("self", "self")):
        (root / name).symlink_to(target)
    os.mkfifo(root / "fifo")
    return root


def outcome(operation: Callable[[], object]) -> object:
    """What an operation returns, in order, or the number of its error."""
    try:
        result = operation()
    except OSError as error:
        return error.errno
    return sorted(result) if isinstance(result, list) else result


@pytest.mark.parametrize("path", PATHS)
def test_looking_up_and_listing_answer_as_arrow(tmp_path: Path, path: str) -> None:
    root = make_tree(tmp_path / "tree")
    for recursive in (False, True):
        listed = [outcome(lambda: make(root / path).entries(recursive=recursive)) for make in (local, arrow)]  # noqa: B023
        assert listed[0] == listed[1]
    assert outcome(local(root / path).look_up) == outcome(arrow(root / path).look_up)


@pytest.mark.parametrize("path", [path for path in PATHS if path not in ("", "b", "folder-link", "fifo")])
def test_reading_answers_as_arrow(tmp_path: Path, path: str) -> None:
    root = make_tree(tmp_path / "tree")
    assert outcome(local(root / path).read) == outcome(arrow(root / path).read)


@pytest.mark.parametrize("path", ["", "b", "f", "f/below", "no", "link", "folder-link", "dangling", "fifo"])
def test_deleting_leaves_what_arrow_leaves(tmp_path: Path, path: str) -> None:
    left = []
    for make in (local, arrow):
        root = make_tree(tmp_path / make.__name__)
        left.append((outcome(make(root / path).delete), sorted(os.walk(root, followlinks=False))))
    names = [[(folder[1:], sorted(files)) for _, *folder, files in walked] for _, walked in left]
    assert left[0][0] == left[1][0]
    assert names[0] == names[1]


@pytest.mark.parametrize("path", ["b", "f", "f/below", "no", "no/x", "folder-link", "dangling"])
def test_making_folders_ends_as_in_arrow(tmp_path: Path, path: str) -> None:
    ends = []
    for make in (local, arrow):
        root = make_tree(tmp_path / make.__name__)
        ends.append((outcome(make(root / path).make_folder), (root / path).is_dir()))
    assert ends[0] == ends[1]


def test_names_and_paths_that_are_no_text_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / os.fsdecode(b"x\xff")).touch()
    with pytest.raises(
        StorageError, match=r"cannot list .*bad: the name .*bad/x\\xff is not UTF-8; rename it"
    ):
        Location(tmp_path / "bad").list()
    with pytest.raises(StorageError, match=r"cannot list .*/bad: the name"):
        Location(tmp_path).list_files()
    with pytest.raises(StorageError, match=r"cannot look up .*: .*embedded null .*; check"):
        Location(f"{tmp_path}/a\0b").exists()


def test_a_folder_is_no_file_to_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r": it is a folder, not a file; check the path$"):
        Location(tmp_path).read_bytes()


def test_local_files_are_read_and_written_without_arrow(tmp_path: Path) -> None:
    code = f"""
import sys
from vgim.storage import Location, write_folder
folder = Location({str(tmp_path / "x")!r})
folder.make_dirs()
folder.child("a").write_bytes_atomic(b"1")
assert folder.child("b").create_exclusive(b"2")
write_folder(folder.child("c"), {{"d": b"3"}})
folder.child("c").move(folder.child("e"))
assert (folder.list(), folder.child("e/d").read_text(), folder.size()) == (["a", "b", "e"], "3", 3)
folder.child("e").delete()
try:
    folder.child("no").read_bytes()
except Exception as error:
    print(error)
print({{"pyarrow", "numpy"}} & set(sys.modules))
"""
    told = subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()
    assert told == [
        f"cannot read {tmp_path}/x/no: there is no such file or folder; check the path",
        "set()",
    ]
