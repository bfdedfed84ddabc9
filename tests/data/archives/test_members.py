"""Archives that nobody has vouched for, read file by file."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest

from tests.data.archives.packing import archive, member, packed
from vgim.data.archives import members as archive_members
from vgim.data.archives.members import read_members
from vgim.errors import DataError
from vgim.storage import Location


def names_in(file: Path) -> list[str]:
    return [header.name for header, _ in read_members(Location(file))]


def written(folder: Path, data: bytes) -> Path:
    file = folder / "some.tar.gz"
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_files_come_in_the_archives_order_and_unread_content_is_skipped(tmp_path: Path, mode: str) -> None:
    file = archive(tmp_path, member("b", size=300_000), member("d", tarfile.DIRTYPE), member("a"), mode=mode)
    assert names_in(file) == ["b", "a"]
    assert [sum(map(len, chunks)) for _, chunks in read_members(Location(file))] == [300_000, 3]


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_damaged_header_in_the_middle_is_no_end(tmp_path: Path, is_packed: bool) -> None:
    data = bytearray(packed({"a": b"1" * 512, "b": b"2" * 512, "c": b"3" * 512}, "w"))
    data[1024 + 148] ^= 1  # the checksum of the second header
    file = written(tmp_path, gzip.compress(data) if is_packed else bytes(data))
    with pytest.raises(DataError, match=r"some\.tar\.gz is damaged or no tar archive \(a header is damaged"):
        names_in(file)


@pytest.mark.parametrize("num_bytes", [100, 512, 700, 1024, 1100])
def test_a_tar_that_is_cut_off_is_damaged(tmp_path: Path, num_bytes: int) -> None:
    file = written(tmp_path, packed({"a": b"1" * 512, "b": b"2" * 512}, "w")[:num_bytes])
    with pytest.raises(DataError, match="is damaged or no tar archive"):
        names_in(file)


def test_archives_one_after_the_other_in_a_file_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, packed({"a": b"1"}) + packed({"b": b"2"}))
    with pytest.raises(DataError, match="holds more after its end"):
        names_in(file)


def test_a_name_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_members, "MAX_HEADER_BYTES", 2 * archive_members.CHUNK_BYTES)
    bomb = tarfile.TarInfo("././@LongLink")
    bomb.type, bomb.size = tarfile.GNUTYPE_LONGNAME, 50_000_000
    header = bomb.tobuf(tarfile.GNU_FORMAT)
    file = written(tmp_path, gzip.compress(packed({"a": b"1"}, "w")[:1024] + header + bytes(bomb.size)))
    with pytest.raises(DataError, match="holds a header of more than 262,144 bytes"):
        names_in(file)


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    sparse = member("a", size=0)
    sparse.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": "4096", "GNU.sparse.name": "a"}
    file = archive(tmp_path, sparse)
    with pytest.raises(DataError, match="'a' is a sparse file"):
        names_in(file)


def test_a_negative_size_is_refused(tmp_path: Path) -> None:
    header = bytearray(member("a").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" + (-512).to_bytes(11, "big", signed=True)
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    with pytest.raises(DataError, match=r"'a' has a negative size|invalid offset"):
        names_in(written(tmp_path, bytes(header) + bytes(1024)))


def test_zeros_after_the_end_are_padding_but_not_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed({"a": b"1"}, "w")
    assert names_in(written(tmp_path, gzip.compress(data + bytes(40_000_000)))) == ["a"]
    monkeypatch.setattr(archive_members, "MIN_ALLOWED_BYTES", 1_000_000)
    with pytest.raises(DataError, match="would unpack to more than"):
        names_in(written(tmp_path, gzip.compress(data + bytes(40_000_000))))
