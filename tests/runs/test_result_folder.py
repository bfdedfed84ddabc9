"""A result's folder is whole or has no `result.json`, whatever stood there and wherever the writer died."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from vgim.errors import StorageError
from vgim.runs.layout import RESULT
from vgim.runs.result_folder import write_result_folder
from vgim.storage import Location


class Result(BaseModel):
    accuracy: float


def test_a_later_result_replaces_all_files_of_an_earlier_one(tmp_path: Path) -> None:
    folder = Location(tmp_path / "probe")
    write_result_folder(
        folder, Result(accuracy=0.25), {"old.csv": b"1"}, lambda writer: writer.add_scalar("a", 1)
    )
    assert folder.list() == ["old.csv", RESULT, "tensorboard"]
    write_result_folder(folder, Result(accuracy=0.5), {"new.csv": b"2"})
    assert folder.list() == ["new.csv", RESULT]
    assert Result.model_validate_json(folder.child(RESULT).read_bytes()).accuracy == 0.5


@pytest.mark.parametrize("died_at", ["deleting the folder", "writing a file"])
def test_a_folder_whose_writer_died_has_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, died_at: str
) -> None:
    folder = Location(tmp_path / "probe")
    write_result_folder(folder, Result(accuracy=0.25), {"old.csv": b"1"})
    delete, write = Location.delete, Location.write_bytes_atomic

    def fail_to_delete(location: Location) -> None:
        if location == folder:
            raise StorageError("the process died")
        delete(location)

    def fail_to_write(location: Location, data: bytes) -> None:
        if location.name == "new.csv":
            raise StorageError("the process died")
        write(location, data)

    if died_at == "deleting the folder":
        monkeypatch.setattr(Location, "delete", fail_to_delete)
    else:
        monkeypatch.setattr(Location, "write_bytes_atomic", fail_to_write)
    with pytest.raises(StorageError):
        write_result_folder(folder, Result(accuracy=0.5), {"new.csv": b"2"})
    assert not folder.child(RESULT).exists()


def test_an_error_while_events_are_made_leaves_the_earlier_result(tmp_path: Path) -> None:
    folder = Location(tmp_path / "probe")
    write_result_folder(folder, Result(accuracy=0.25), {"old.csv": b"1"})
    with pytest.raises(ZeroDivisionError):
        write_result_folder(folder, Result(accuracy=0.5), {}, lambda writer: writer.add_scalar("a", 1 / 0))
    assert folder.list() == ["old.csv", RESULT]
