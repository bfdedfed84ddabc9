"""Notes for the reader of a page: problems of the run, and files that could not be read or shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vgim.errors import VgimError
from vgim.storage import Location
from vgim.text import first_problem

Model = TypeVar("Model", bound=BaseModel)


@dataclass
class Notes:
    """Collects sentences in the order in which they are added, each once."""

    run: Location
    warnings: list[str] = field(default_factory=list)
    """Problems that make the run's numbers doubtful."""
    damaged: list[str] = field(default_factory=list)
    """Files that are not on the page, with the reason."""

    def warn(self, sentence: str) -> None:
        """Add a problem of the run."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def damage(self, path: Location, reason: str) -> None:
        """Add a file that is left out."""
        sentence = f"{self.short(path)} is left out: {reason}"
        if sentence not in self.damaged:
            self.damaged.append(sentence)

    def short(self, path: Location) -> str:
        """The path relative to the run's folder; the whole URI if it is outside."""
        return path.uri.removeprefix(f"{self.run.uri}/")


def list_folder(path: Location, notes: Notes) -> list[str]:
    """Names in a folder; empty if the folder is missing, or cannot be listed, which is noted."""
    try:
        return path.list()
    except VgimError as error:
        notes.damage(path, str(error))
        return []


def read_json(path: Location, model: type[Model], notes: Notes) -> Model | None:
    """A JSON file as a typed record; None if the file is missing, or damaged, which is noted."""
    try:
        return model.model_validate_json(path.read_bytes()) if path.exists() else None
    except ValidationError as error:
        notes.damage(path, first_problem(error))
    except VgimError as error:
        notes.damage(path, str(error))
    return None
