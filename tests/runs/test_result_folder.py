"""A result's folder is whole or has no `result.json`, whatever stood there and wherever the writer died."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel

from vgim.errors import StorageError
from vgim.runs.layout import RESULT
from vgim.runs.result_folder import refuse_unwritable, write_result_folder
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


def test_a_folder_that_cannot_hold_results_is_refused_and_another_stays_empty(tmp_path: Path) -> None:
    refuse_unwritable(Location(tmp_path / "run" / "probes"))
    assert Location(tmp_path / "run" / "probes").list() == []
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write .*/file/probes: "):
        refuse_unwritable(Location(tmp_path / "file" / "probes"))


def test_a_folder_without_permission_to_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(StorageError, match=r"cannot write .*/probes: .*permission"):
        refuse_unwritable(Location(tmp_path / "probes"))


@pytest.fixture(params=["local", "remote"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    return Location(
        tmp_path / "probe" if request.param == "local" else f"mock://results/{tmp_path.name}/probe"
    )


@pytest.mark.parametrize("died_at", ["deleting the folder", "writing a file"])
def test_a_folder_whose_writer_died_has_a_whole_result_or_none(
    folder: Location, monkeypatch: pytest.MonkeyPatch, died_at: str
) -> None:
    write_result_folder(folder, Result(accuracy=0.25), {"old.csv": b"1"})
    delete, write = Location.delete, Location.write_bytes_atomic

    def fail_to_delete(location: Location) -> None:
        if location == folder or location.parent == folder.parent:
            raise StorageError("the process died")
        delete(location)

    def fail_to_write(location: Location, data: bytes) -> None:
        if location.name == "new.csv":
            raise StorageError("the process died")
        write(location, data)

    def fail_to_rename(*_: object) -> None:
        raise StorageError("the process died")

    if died_at == "deleting the folder":
        monkeypatch.setattr(Location, "delete", fail_to_delete)
        monkeypatch.setattr("vgim.runs.result_folder.replace_folder", fail_to_rename)
    else:
        monkeypatch.setattr(Location, "write_bytes_atomic", fail_to_write)
    with pytest.raises(StorageError):
        write_result_folder(folder, Result(accuracy=0.5), {"new.csv": b"2"})
    if folder.is_local:
        accuracy = Result.model_validate_json(folder.child(RESULT).read_bytes()).accuracy
        assert folder.list() == (["old.csv", RESULT] if accuracy == 0.25 else ["new.csv", RESULT])
    else:
        assert not folder.child(RESULT).exists()


def test_results_that_are_written_at_once_do_not_mix(tmp_path: Path) -> None:
    folder, barrier, errors = Location(tmp_path / "probe"), threading.Barrier(8), []

    def write(number: int) -> None:
        files = {f"{number}-{i}.csv": b"x" for i in range(5)}
        barrier.wait()
        try:
            for _ in range(5):
                write_result_folder(folder, Result(accuracy=number), files)
        except StorageError as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    last = int(Result.model_validate_json(folder.child(RESULT).read_bytes()).accuracy)
    assert folder.list() == [*(f"{last}-{i}.csv" for i in range(5)), RESULT]
    assert os.listdir(tmp_path) == ["probe"]  # noqa: PTH208


def test_an_error_while_events_are_made_leaves_the_earlier_result(tmp_path: Path) -> None:
    folder = Location(tmp_path / "probe")
    write_result_folder(folder, Result(accuracy=0.25), {"old.csv": b"1"})
    with pytest.raises(ZeroDivisionError):
        write_result_folder(folder, Result(accuracy=0.5), {}, lambda writer: writer.add_scalar("a", 1 / 0))
    assert folder.list() == ["old.csv", RESULT]
