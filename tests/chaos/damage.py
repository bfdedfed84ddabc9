"""Damage to files: what disks, copies and people do to them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Damaged:
    """A file that was damaged, and how to undo it."""

    file: Path
    content: bytes

    def restore(self) -> None:
        """Put the file back as it was."""
        if self.file.is_dir():
            shutil.rmtree(self.file)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(self.content)


def flip(file: Path, rng: Random, other: Path | None) -> None:
    data = bytearray(file.read_bytes())
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(data)


def truncate(file: Path, rng: Random, other: Path | None) -> None:
    data = file.read_bytes()
    os.truncate(file, rng.randrange(len(data)) if data else 0)


def empty(file: Path, rng: Random, other: Path | None) -> None:
    os.truncate(file, 0)


def delete(file: Path, rng: Random, other: Path | None) -> None:
    file.unlink()


def swap(file: Path, rng: Random, other: Path | None) -> None:
    """Put the same file of another run or folder in its place."""
    data = other.read_bytes() if other is not None else file.read_bytes()[::-1]
    file.write_bytes(data)


def folder(file: Path, rng: Random, other: Path | None) -> None:
    file.unlink()
    file.mkdir()


def foreign(file: Path, rng: Random, other: Path | None) -> None:
    """Put JSON of another program in its place."""
    texts = ('{"a": 1}', "[]", "null", "3", '"text"', "{}", '{"schema_version": 99}', "[" * 2000 + "]" * 2000)
    file.write_text(rng.choice(texts))


def foreign_text(file: Path, rng: Random, other: Path | None) -> None:
    """Put a byte that is not UTF-8 into it."""
    data = bytearray(file.read_bytes())
    data.insert(rng.randrange(len(data) + 1), 0xFF)
    file.write_bytes(data)


Damage = Callable[[Path, Random, "Path | None"], None]
MANNERS: dict[str, Damage] = {
    "a bit flipped": flip,
    "truncated": truncate,
    "emptied": empty,
    "deleted": delete,
    "swapped with another's": swap,
    "replaced by a folder": folder,
    "foreign JSON": foreign,
    "not UTF-8": foreign_text,
}


def damage(file: Path, manner: str, rng: Random, other: Path | None = None) -> Damaged:
    """Damage a file.

    Args:
        manner: A key of `MANNERS`.
        other: The same file of another run.
    """
    before = Damaged(file, file.read_bytes())
    MANNERS[manner](file, rng, other)
    return before
