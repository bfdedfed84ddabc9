"""Folders of files that others made: everything is listed, or said why it is not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.hostile import add_hostile_files
from tests.faulty_storage import Faults, faulty_storage
from vgim.data.listing import list_foreign
from vgim.errors import StorageError
from vgim.storage import Location


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Names of folders → the error that listing them ends with: permissions do not bind root."""
    errors: dict[str, int] = {}
    scandir = os.scandir

    def fails(path: str) -> object:
        if (code := errors.get(str(path).rstrip("/").rpartition("/")[2])) is not None:
            raise OSError(code, os.strerror(code), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fails)
    return errors


def test_what_cannot_be_read_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one.flac").write_bytes(b"1234")
    (tmp_path / "a/link.flac").symlink_to("one.flac")
    (tmp_path / "twice").symlink_to("a")
    reasons = add_hostile_files(tmp_path)
    listing = list_foreign(Location(tmp_path), (".flac",))
    assert [(file.path, file.num_bytes) for file in listing.files] == [
        ("a/link.flac", 4),
        ("a/one.flac", 4),
        ("twice/link.flac", 4),
        ("twice/one.flac", 4),
    ]
    assert dict(listing.unusable) == reasons


def test_folders_that_link_to_each_other_are_listed_once_on_each_way(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.wav").write_bytes(b"1")
        (tmp_path / name / "to").symlink_to(f"../{other}")
    listing = list_foreign(Location(tmp_path))
    assert [file.path for file in listing.files] == ["a/to/x.wav", "a/x.wav", "b/to/x.wav", "b/x.wav"]
    assert [item.path for item in listing.unusable] == ["a/to/to", "b/to/to"]


def test_a_folder_that_may_not_be_read_is_listed_and_the_root_is_an_error(
    tmp_path: Path, refused: dict[str, int]
) -> None:
    (tmp_path / "root/closed").mkdir(parents=True)
    (tmp_path / "root/x.wav").write_bytes(b"1")
    refused["closed"] = errno.EACCES
    listing = list_foreign(Location(tmp_path / "root"))
    assert (listing.files[0].path, dict(listing.unusable)) == ("x.wav", {"closed": "permission denied"})
    for code, told in ((errno.EMFILE, "Too many open files"), (errno.ENOMEM, "Cannot allocate memory")):
        refused["closed"] = code  # which says nothing about the folder
        with pytest.raises(StorageError, match=told):
            list_foreign(Location(tmp_path / "root"))
    refused["root"] = errno.EACCES
    with pytest.raises(StorageError, match=r"cannot list .*root: permission denied"):
        list_foreign(Location(tmp_path / "root"))


def test_paths_that_are_too_long_are_listed(tmp_path: Path) -> None:
    part, place = "d" * 250, os.open(tmp_path, os.O_RDONLY)
    for _ in range(17):  # 4,250 characters below the root, one folder at a time
        os.mkdir(part, dir_fd=place)
        below = os.open(part, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    ((path, reason),) = list_foreign(Location(tmp_path)).unusable
    assert reason == "the name is too long"
    assert set(path) == {"d", "/"}


def test_files_of_remote_storage_are_listed_unless_a_uri_cannot_name_them(tmp_path: Path) -> None:
    for name in ("a.wav", "b/c d é.wav", "b/half#.wav", "b/why?.wav"):
        (tmp_path / "bucket" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bucket" / name).write_bytes(b"12")
    with faulty_storage(tmp_path, Faults()):
        listing = list_foreign(Location("faulty://bucket"))
    assert [file.path for file in listing.files] == ["a.wav", "b/c d é.wav"]
    assert [item.path for item in listing.unusable] == ["b/half#.wav", "b/why?.wav"]
    assert "stand for something else in a URI" in listing.unusable[0].reason


@given(st.sets(st.binary(min_size=1, max_size=30).filter(lambda name: not set(name) & {0, 47}), max_size=8))
def test_names_of_any_bytes_are_listed(tmp_path_factory: pytest.TempPathFactory, names: set[bytes]) -> None:
    folder = os.fsencode(tmp_path_factory.mktemp("names"))
    written = {name for name in names if name not in (b".", b"..")}
    for name in written:
        os.close(os.open(folder + b"/" + name, os.O_CREAT))
    place = Location(os.fsdecode(folder))
    listing = list_foreign(place)
    assert len(listing.files) + len(listing.unusable) == len(written)
    for file in listing.files:
        assert file.path.encode() in written
        assert place.child(file.path).read_bytes() == b""
    for item in listing.unusable:
        item.path.encode()
