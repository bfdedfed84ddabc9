"""Storage: one handle for paths and URIs, whole files or none, errors in one line."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from vgim.errors import StorageError
from vgim.storage import Location


@pytest.fixture(params=["local", "mock"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A folder on the local file tree, and one on pyarrow's in-memory filesystem."""
    if request.param == "local":
        return Location(tmp_path / "store")
    return Location(f"mock://store/{tmp_path.name}")


def test_write_read_list_and_delete(folder: Location) -> None:
    assert folder.list() == []
    assert not folder.exists()
    folder.child("a", "b.txt").write_bytes_atomic("μ".encode())
    folder.child("c.bin").write_bytes_atomic(b"\0" * 7)
    assert folder.list() == ["a", "c.bin"]
    assert folder.child("a/b.txt").read_text() == "μ"
    assert folder.child("c.bin").size() == 7
    assert folder.size() == 9
    assert folder.is_dir()
    with folder.child("c.bin").open_input() as stream:
        assert stream.seek(3) == 3
        assert stream.read() == b"\0" * 4
    folder.delete()
    assert not folder.exists()
    folder.delete()  # nothing there: fine


def test_a_failed_write_leaves_the_old_file_and_nothing_else(folder: Location) -> None:
    target = folder.child("x")
    target.write_bytes_atomic(b"old")

    def fail() -> None:
        with target.atomic_output() as out:
            out.write(b"half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert target.read_bytes() == b"old"
    assert folder.list() == ["x"]
    if folder.is_local:
        assert os.listdir(folder.local_path) == ["x"]  # noqa: PTH208


def test_trees_go_up_and_come_down(folder: Location, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "one").write_text("1")
    (source / "two").write_text("2")
    folder.child("tree").upload_dir(source)
    assert folder.child("tree").list() == ["deep", "two"]
    folder.child("tree").download_to(tmp_path / "back")
    assert (tmp_path / "back" / "deep" / "one").read_text() == "1"


def test_move_renames_files_and_folders(folder: Location) -> None:
    folder.child("d", "f").write_bytes_atomic(b"1")
    folder.child("d").move(folder.child("e"))
    assert folder.list() == ["e"]
    folder.child("g").write_bytes_atomic(b"2")
    folder.child("e", "f").move(folder.child("g"))
    assert folder.child("g").read_bytes() == b"1"


def test_paths_become_absolute_and_uris_keep_their_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Location("a/../b").uri == str(tmp_path / "b")
    assert Location("~/b") == Location(tmp_path / "b") == Location(f"file://{tmp_path}/b/")
    assert Location("s3://bucket/a/?region=x").child("b", "c").uri == "s3://bucket/a/b/c?region=x"
    assert Location("s3://bucket/a/b?region=x").parent.uri == "s3://bucket/a?region=x"
    assert Location("s3://bucket/a/b?region=x").name == "b"
    assert not Location("s3://bucket/a").is_local
    with pytest.raises(StorageError, match="not a local path"):
        _ = Location("s3://bucket/a").local_path


def test_a_location_travels(folder: Location) -> None:
    folder.child("x").write_bytes_atomic(b"1")
    assert pickle.loads(pickle.dumps(folder.child("x"))).read_bytes() == b"1"
    assert hash(Location(folder)) == hash(folder)


@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "no space left"), (errno.EACCES, "permission denied"), (errno.EROFS, "read-only")],
)
def test_errors_of_the_disk_are_one_line_with_a_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(StorageError, match=words) as caught:
        Location(tmp_path / "x").write_bytes_atomic(b"1")
    assert str(tmp_path) in str(caught.value)
    assert ";" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_missing_files_and_bad_addresses_are_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nothing-here: there is no such file or folder; check"):
        Location(tmp_path / "nothing-here").read_bytes()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file"):
        Location(tmp_path / "file" / "below").write_bytes_atomic(b"1")
    with pytest.raises(StorageError, match="cannot open nosuch://x"):
        Location("nosuch://x/y").exists()
    with pytest.raises(StorageError, match="empty"):
        Location(" ")
    with pytest.raises(StorageError, match=r"s3://\[::1 is no URI .*; give one such as s3://bucket/folder"):
        Location("s3://[::1")


def test_the_import_is_light() -> None:
    code = "import vgim.storage, sys; print([m for m in ('ray', 'pandas', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
