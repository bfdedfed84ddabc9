"""A file gets a second place as a link where there are links, else as a copy; never in part."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.faulty_storage import Faults, faulty_storage
from vgim.errors import StorageError
from vgim.storage import Location, give_second_place

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(CONTENT)
    return tmp_path / "source"


def test_a_link_replaces_what_is_there(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"half")
    placed = give_second_place(Location(source), Location(tmp_path / "target"))
    assert placed == ("linked", None)
    assert source.samefile(tmp_path / "target")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
def test_without_links_it_is_copied_and_hashed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    placed = give_second_place(Location(source), Location(tmp_path / "new" / "target"))
    assert placed == ("copied", hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / "new" / "target").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["target"]


def test_a_source_that_is_gone_and_a_full_disk_are_errors(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="cannot link"):
        give_second_place(Location(tmp_path / "absent"), Location(tmp_path / "target"))

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(StorageError, match="no space left"):
        give_second_place(Location(source), Location(tmp_path / "target"))


def test_a_put_that_is_repeated_hashes_from_the_start(source: Path, tmp_path: Path) -> None:
    with faulty_storage(tmp_path / "store", Faults(rates={"write": 0.5, "close": 0.3}, seed=1)) as faults:
        placed = give_second_place(Location(source), Location("faulty://store/target"))
        assert faults.raised
    assert placed == ("copied", hashlib.sha256(CONTENT).hexdigest())
    assert (tmp_path / "store" / "store" / "target").read_bytes() == CONTENT
