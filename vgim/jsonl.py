"""JSON-lines files: one JSON object a line, appended to while a run works and read while it still does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vgim.storage import Location

RecordT = TypeVar("RecordT", bound=BaseModel)


def parse_object(line: str | bytes) -> dict[str, Any] | None:
    """The object of one line; None for a line that is none: half-written, not UTF-8, or of another kind.

    NaN and infinity, which are no JSON, are read as None.
    """
    try:
        value = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError):  # also text that is not UTF-8, and numbers of thousands of digits
        return None
    return value if isinstance(value, dict) else None


def split_lines(content: bytes) -> tuple[list[bytes], bytes]:
    """The whole lines of a file that are not empty, and what stands behind the last line end: a half-written line."""
    *lines, rest = content.split(b"\n")
    return [line for line in lines if line.strip()], rest


def read_objects(path: Location) -> Iterator[dict[str, Any]]:
    """The objects of a file, oldest first, without lines that are none; no objects if there is no file.

    Raises:
        StorageError: The file cannot be read.
    """
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            if (value := parse_object(line)) is not None:
                yield value


def read_records(path: Location, kind: type[RecordT]) -> Iterator[RecordT]:
    """The records of a file, oldest first; lines that are not records of this kind are left out.

    Raises:
        StorageError: The file cannot be read.
    """
    for value in read_objects(path):
        try:
            yield kind.model_validate(value)
        except ValidationError:
            continue


def append_record(path: Location, record: BaseModel) -> None:
    """Append a record to a file, which is written anew: object stores cannot append. A half-written line is dropped."""
    before, _ = split_lines(path.read_bytes()) if path.exists() else ([], b"")
    path.write_bytes_atomic(
        b"".join([line + b"\n" for line in before] + [f"{record.model_dump_json()}\n".encode()])
    )


def lines_until(path: Location, step: int) -> bytes:
    """The lines of a file whose `step` is not later than the given one; nothing if there is no file.

    Lines without a step, which are damaged, are left out.
    """
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return b"".join(line + b"\n" for line in lines if _is_until(parse_object(line), step))


def _is_until(value: dict[str, Any] | None, step: int) -> bool:
    found = None if value is None else value.get("step")
    return isinstance(found, int) and found <= step
