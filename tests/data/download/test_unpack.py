"""Unpacking what nobody has vouched for."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.data.archives.packing import archive, member
from vgim.data.archives import members as archive_members
from vgim.data.download.unpack import unpack
from vgim.errors import DataError


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (member("/etc/passwd"), "has an absolute name"),
        (member("C:/windows"), "has an absolute name"),
        (member("a/../../out"), "leads out of the folder"),
        (member("..\\out"), "leads out of the folder"),
        (member("a/link", tarfile.SYMTYPE, link="/etc"), "is a link"),
        (member("a/link", tarfile.LNKTYPE, link="../x"), "is a link"),
        (member("a/pipe", tarfile.FIFOTYPE), "is neither a file nor a folder"),
        (member("a/device", tarfile.CHRTYPE), "is neither a file nor a folder"),
        (member("x" * 1001), "has no possible name"),
    ],
)
def test_what_leads_out_of_the_folder_is_refused_and_not_written(
    tmp_path: Path, bad: tarfile.TarInfo, reason: str
) -> None:
    file = archive(tmp_path, member("good"), bad)
    with pytest.raises(DataError, match=reason):
        unpack(file, tmp_path / "out" / "deep")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["some.tar.gz", "good"]


def test_an_archive_that_grows_beyond_what_a_corpus_does_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_members, "MIN_ALLOWED_BYTES", 1000)
    file = archive(tmp_path, *(member(f"{number}", size=10_000) for number in range(3)))
    with pytest.raises(DataError, match="would unpack to more than"):
        unpack(file, tmp_path / "out")
    monkeypatch.setattr(archive_members, "MAX_FILES", 2)
    file = archive(tmp_path, *(member(f"{number}", size=1) for number in range(3)))
    with pytest.raises(DataError, match="would unpack to more than 2 files"):
        unpack(file, tmp_path / "out")


@pytest.mark.parametrize("damage", ["truncated", "last byte", "flipped", "no gzip", "empty"])
def test_a_damaged_archive_is_told_in_one_line(tmp_path: Path, damage: str) -> None:
    file = archive(tmp_path, *(member(f"{number}", size=50_000) for number in range(9)))
    data = bytearray(file.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "last byte":
        data = data[:-1]
    elif damage == "flipped":
        data[len(data) // 2] ^= 0xFF
    else:
        data = bytearray(b"no archive at all" if damage == "no gzip" else b"")
    file.write_bytes(data)
    with pytest.raises(DataError, match=r"some\.tar\.gz is damaged or no tar archive"):
        unpack(file, tmp_path / "out")


def test_folders_at_the_head_of_names_are_left_out_and_the_content_has_one_hash(tmp_path: Path) -> None:
    first = unpack(archive(tmp_path, member("top/a/b"), member("top/c")), tmp_path / "one", strip=1)
    second = unpack(archive(tmp_path, member("c"), member("a/b")), tmp_path / "two")
    assert first == second
    assert (first.num_files, first.num_bytes) == (2, 6)
    assert sorted(str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*")) == [
        "a",
        "a/b",
        "c",
    ]
