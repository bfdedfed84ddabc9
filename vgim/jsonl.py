"""JSON-lines files: one JSON object a line, appended to while a run works and read while it still does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vgim.storage import Location

RecordT = TypeVar("RecordT", bound=BaseModel)


def parse_object(line: str) -> dict[str, Any] | None:
    """The object of one line; None for a line that a killed writer left half-written."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def read_objects(path: Location) -> Iterator[dict[str, Any]]:
    """The objects of a file, oldest first, without half-written lines; none if there is no file."""
    if path.exists():
        for line in path.read_text().splitlines():
            if (value := parse_object(line)) is not None:
                yield value


def read_records(path: Location, kind: type[RecordT]) -> Iterator[RecordT]:
    """The records of a file, oldest first; lines that are not records of this kind are left out."""
    for value in read_objects(path):
        try:
            yield kind.model_validate(value)
        except ValidationError:
            continue


def append_record(path: Location, record: BaseModel) -> None:
    """Append a record to a file, which is written anew: object stores cannot append."""
    before = path.read_text() if path.exists() else ""
    path.write_bytes_atomic(f"{before}{record.model_dump_json()}\n".encode())


def lines_until(path: Location, step: int) -> bytes:
    """The lines of a file whose `step` is not later than the given one; nothing if there is no file."""
    lines = path.read_text().splitlines() if path.exists() else []
    return "".join(f"{line}\n" for line in lines if json.loads(line)["step"] <= step).encode()
