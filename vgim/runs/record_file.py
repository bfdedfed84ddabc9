"""JSON files that hold one typed record each: `run.json`, results, the lineage of a member."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vgim.errors import StorageError
from vgim.storage import Location
from vgim.text import first_problem

Record = TypeVar("Record", bound=BaseModel)


def read_record(path: Location, kind: type[Record], *, problem: str, fix: str) -> Record:
    """The record that a JSON file holds.

    Args:
        problem: what a file that holds no such record is said to be: `does not read as a run's record`.
        fix: what to do about it.

    Raises:
        StorageError: The file is missing, cannot be read, or holds no such record.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise StorageError(f"{path.uri} {problem} ({first_problem(error)}); {fix}") from error
