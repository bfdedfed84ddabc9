"""What a killed writer leaves is removed by the next one, and what a live one writes is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vgim.storage import Location
from vgim.storage.atomic import TEMPORARY_MARK, locked_temporary_folder, renamed_at_end

WRITE_AND_WAIT = """
import sys, time
from vgim.storage import Location
with Location(sys.argv[1]).atomic_output() as out:
    out.write(b"half")
    out.flush()
    print("writing", flush=True)
    time.sleep(600)
"""


def temporaries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if TEMPORARY_MARK in path.name]


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = Location(tmp_path / "a.json")
    with subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, target.uri], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        target.write_bytes_atomic(b"of a live writer nothing is removed")
        assert len(temporaries(tmp_path)) == 1
        os.kill(writer.pid, signal.SIGKILL)
    Location(tmp_path / "b.json").write_bytes_atomic(b"another file")
    assert len(temporaries(tmp_path)) == 1
    target.write_bytes_atomic(b"whole")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a.json", "b.json"]
    assert target.read_bytes() == b"whole"


def test_writers_of_one_file_do_not_disturb_one_another(tmp_path: Path) -> None:
    path, contents = tmp_path / "a", [bytes([number]) * 4096 for number in range(8)]
    errors: list[Exception] = []

    def write(content: bytes) -> None:
        try:
            for _ in range(40):
                Location(path).write_bytes_atomic(content)
                assert path.read_bytes() in contents
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=[content]) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_system_without_locks_is_written_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    (tmp_path / f".a{TEMPORARY_MARK}0").write_bytes(b"whose writer may live")
    with renamed_at_end(tmp_path / "a") as out:
        out.write(b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"
    assert len(temporaries(tmp_path)) == 1


def test_a_device_is_written_to_and_not_replaced() -> None:
    Location("/dev/null").write_bytes_atomic(b"nothing")
    assert Path("/dev/null").is_char_device()


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE) as reader:
        Location(tmp_path / "pipe").write_bytes_atomic(b"through")
        assert reader.communicate()[0] == b"through"
    assert (tmp_path / "pipe").is_fifo()


def test_a_folder_of_a_live_process_is_kept_and_one_that_was_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "probe"
    (tmp_path / f".probe{TEMPORARY_MARK}0").mkdir()
    (tmp_path / f".probe{TEMPORARY_MARK}0" / "half.npz").write_bytes(b"half")
    with locked_temporary_folder(target) as one, locked_temporary_folder(target) as other:
        assert sorted(temporaries(tmp_path)) == sorted([one, other])
        one.rename(target)
    assert list(tmp_path.iterdir()) == [target]
