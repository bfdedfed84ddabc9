"""Following `metrics.jsonl`: every new record once, in whatever pieces it is written, and no byte twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.faulty_storage import faulty_storage
from vgim.errors import StorageError
from vgim.runs import metrics_follower
from vgim.runs.metrics_follower import MetricsFollower
from vgim.runs.metrics_writer import Event, MetricsWriter
from vgim.storage import Location

NOW = 1_700_000_000.0


def line(number: int, at: float = NOW) -> bytes:
    record = {"kind": "event", "step": number, "message": f"message {number}", "time": at}
    return json.dumps(record).encode() + b"\n"


def steps(follower: MetricsFollower) -> list[int]:
    return [record["step"] for record in follower.new_records()]


@given(pieces=st.lists(st.integers(0, 150), min_size=1, max_size=40), num_before=st.integers(0, 9))
def test_records_come_once_each_however_the_file_grows(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], num_before: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    path = folder / "metrics.jsonl"
    if num_before:
        path.write_bytes(b"".join(line(number) for number in range(num_before)))
    follower = MetricsFollower(Location(folder), NOW - 1)
    rest = b"".join(line(number) for number in range(num_before, num_before + 9))
    found = []
    for size in [*pieces, len(rest)]:
        with path.open("ab") as file:
            file.write(rest[:size])
        rest = rest[size:]
        found += steps(follower)
    assert found == list(range(num_before, num_before + 9))


def test_only_new_bytes_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(line(number) for number in range(10_000)))
    follower = MetricsFollower(Location(tmp_path), NOW)
    sizes: list[int] = []
    split = metrics_follower.split_lines
    monkeypatch.setattr(
        metrics_follower, "split_lines", lambda content: (sizes.append(len(content)), split(content))[1]
    )
    with path.open("ab") as file:
        file.write(line(10_000, NOW + 1))
    assert steps(follower) == [10_000]
    assert steps(follower) == []
    assert sizes == [len(line(10_000, NOW + 1)), 0]


def test_a_file_written_anew_shows_what_is_new_in_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(line(1, NOW - 9) + line(2, NOW - 8) + line(3, NOW - 7))
    follower = MetricsFollower(Location(tmp_path), NOW)
    path.write_bytes(line(1, NOW - 9) + line(2, NOW - 8) + line(4, NOW + 1))  # of the same size
    assert steps(follower) == [4]
    path.write_bytes(line(1, NOW - 9) + line(4, NOW + 1) + line(5, NOW + 2) + line(6, NOW + 3) + b'{"kin')
    assert steps(follower) == [5, 6]
    path.write_bytes(line(7, NOW + 4))  # shorter
    assert steps(follower) == [7]
    path.unlink()
    assert steps(follower) == []
    path.write_bytes(line(1, NOW - 9) + line(8, NOW + 5))
    assert steps(follower) == [8]


def test_records_of_an_earlier_run_in_a_new_file_are_left_out(tmp_path: Path) -> None:
    follower = MetricsFollower(Location(tmp_path), NOW)
    (tmp_path / "metrics.jsonl").write_bytes(line(1, NOW - 9) + line(2, NOW + 1))
    assert steps(follower) == [2]


def test_damaged_lines_and_records_without_a_time_are_no_problem(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"")
    follower = MetricsFollower(Location(tmp_path), NOW)
    timeless: dict[str, Any] = {"kind": "event", "step": 3, "message": "m", "time": None}
    path.write_bytes(b"\xff\xfe\n\n" + line(2, NOW + 1))
    assert steps(follower) == [2]
    with path.open("ab") as file:
        file.write(json.dumps(timeless).encode() + b"\n{}\n" + line(4, NOW + 1))
    assert steps(follower) == [3, 4]


def test_a_run_that_is_continued_is_followed_over_what_its_writer_drops(tmp_path: Path) -> None:
    run = Location(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b"".join(line(step) for step in range(1, 6)))
    follower = MetricsFollower(run, NOW + 1)
    writer = MetricsWriter(run, 3)  # the checkpoint's step; steps 4 and 5 are taken again
    for step in range(4, 7):
        writer.event(step, Event(f"step {step} again"))
    writer.close()
    assert [record["message"] for record in follower.new_records()] == [f"step {n} again" for n in (4, 5, 6)]


def test_remote_storage_is_followed_too(tmp_path: Path) -> None:
    with faulty_storage(tmp_path):
        run = Location("faulty://store/run")
        follower = MetricsFollower(run, NOW)
        run.child("metrics.jsonl").write_bytes_atomic(line(1, NOW + 1))
        assert steps(follower) == [1]
        run.child("metrics.jsonl").write_bytes_atomic(line(1, NOW + 1) + line(2, NOW + 2))
        assert steps(follower) == [2]


def test_storage_that_fails_at_first_loses_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(line(1, NOW - 1))
    with monkeypatch.context() as patch:
        patch.setattr(Location, "open_input", lambda self: (_ for _ in ()).throw(StorageError("gone")))
        follower = MetricsFollower(Location(tmp_path), NOW)
        with pytest.raises(StorageError):
            follower.new_records()
    with (tmp_path / "metrics.jsonl").open("ab") as file:
        file.write(line(2, NOW + 1))
    assert steps(follower) == [2]
