"""Sentences for the reader of a page: what is wrong with the run, and what could not be read or shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vgim.errors import VgimError
from vgim.storage import Location

Model = TypeVar("Model", bound=BaseModel)


@dataclass
class Notes:
    """Collects sentences in the order in which they are found, each once."""

    run: Location
    warnings: list[str] = field(default_factory=list)
    """What makes the run's numbers doubtful."""
    damaged: list[str] = field(default_factory=list)
    """Files that are not on the page, and why."""

    def warn(self, sentence: str) -> None:
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def damage(self, path: Location, reason: str) -> None:
        """Note that a file was left out."""
        sentence = f"{self.short(path)} is left out: {reason}"
        if sentence not in self.damaged:
            self.damaged.append(sentence)

    def short(self, path: Location) -> str:
        """The place as seen from the run's folder, where it lies inside."""
        return path.uri.removeprefix(f"{self.run.uri}/")


def children(path: Location, notes: Notes) -> list[str]:
    """Names in a folder; none where it is absent or cannot be listed, which is noted."""
    try:
        return path.list()
    except VgimError as error:
        notes.damage(path, str(error))
        return []


def read_json(path: Location, model: type[Model], notes: Notes) -> Model | None:
    """A JSON file as a typed record; None where it is absent, or damaged, which is noted."""
    try:
        return model.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValidationError as error:
        notes.damage(path, first_problem(error))
    except VgimError as error:
        notes.damage(path, str(error))
    return None


def first_problem(error: ValidationError) -> str:
    """`module: Input should be a valid integer`."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else str(problem["msg"])


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
