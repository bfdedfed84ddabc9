"""JSON-lines files: appended records read back, and a half-written line hides no other."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from vgim.jsonl import append_record, lines_until, read_objects, read_records
from vgim.storage import Location


class Record(BaseModel):
    step: int


@pytest.fixture(params=["local", "remote"])
def file(request: pytest.FixtureRequest, tmp_path: object) -> Location:
    return Location(f"{tmp_path}/a.jsonl" if request.param == "local" else f"mock://jsonl{tmp_path}/a.jsonl")


def test_appended_records_read_back_in_order(file: Location) -> None:
    assert list(read_records(file, Record)) == []
    for step in (1, 2, 3):
        append_record(file, Record(step=step))
    assert [record.step for record in read_records(file, Record)] == [1, 2, 3]
    assert lines_until(file, 2) == b'{"step":1}\n{"step":2}\n'


def test_lines_that_are_no_records_are_left_out(file: Location) -> None:
    file.write_bytes_atomic(b'{"step": 1}\n[2]\n{"other": 3}\n{"step": 4}\n{"st')
    assert list(read_objects(file)) == [{"step": 1}, {"other": 3}, {"step": 4}]
    assert [record.step for record in read_records(file, Record)] == [1, 4]
    assert lines_until(file.parent.child("missing.jsonl"), 9) == b""
