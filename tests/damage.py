"""What may happen to a file: a damage each, which tests inject into every file that a command reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def flip(path: Path) -> None:
    """Change one bit in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    """Cut off the second half, in place."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def foreign(path: Path) -> None:
    path.write_text('{"some": ["other", "file"]}')


def not_utf8(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" + path.read_bytes())


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def huge_number(path: Path) -> None:
    path.write_text('{"step": ' + "9" * 5000 + "}\n")


def delete(path: Path) -> None:
    path.unlink()


def folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


ALL = (flip, truncate, empty, zero, foreign, not_utf8, nested, huge_number, delete, folder_in_its_place)
DAMAGES: dict[str, Callable[[Path], None]] = {damage.__name__: damage for damage in ALL}
"""Damages by name."""
