"""Records that a trial adds to its run's folder, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vgim.storage import Location

RecordT = TypeVar("RecordT", bound=BaseModel)


def read_lines(path: Location, kind: type[RecordT]) -> Iterator[RecordT]:
    """The records of a file, oldest first; none where there is no file. Lines of another shape are passed over."""
    if not path.exists():
        return
    for line in path.read_text().splitlines():
        try:
            yield kind.model_validate(json.loads(line))
        except (ValidationError, json.JSONDecodeError):
            continue


def add_line(path: Location, record: BaseModel) -> None:
    """Add a record to a file."""
    before = path.read_text() if path.exists() else ""
    path.write_bytes_atomic(f"{before}{record.model_dump_json()}\n".encode())


def lines_until(path: Location, step: int) -> bytes:
    """The lines of a file of records that tell of no later step; nothing where there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step).encode()
