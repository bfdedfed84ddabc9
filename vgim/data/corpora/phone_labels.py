"""Phone labels in CPC's format: per line an utterance id and a class for every 10 ms; and the names of the classes.

61-70968-0000 0 0 0 16 16 18 ...          phones.txt
16 HH                                     phone_inventory.txt

Fields are separated by spaces or tabs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from vgim.arrays import I16
from vgim.data.pcm import HOP_SAMPLES
from vgim.data.source import Source
from vgim.data.text_lines import TextLine, read_whole_lines
from vgim.errors import DataError
from vgim.storage import Location

LABELS_NAME = "phones.txt"
INVENTORY_NAME = "phone_inventory.txt"
SILENCE = "SIL"
"""Name of the class of silence, however aligners and corpora write it."""
MAX_CLASS = 32_767
SHORT_BY_FRAMES = 3
"""Frames that labels may lack at the end: aligners leave out one or two. Shorter labels belong to other audio."""

Phones = I16
_CLASSES = re.compile(r"[0-9]{1,5}([ \t]+[0-9]{1,5})*")


@dataclass(frozen=True)
class PhoneLabels:
    """Phone labels of a corpus."""

    phones: dict[str, Phones]
    """Utterance id → class per 10 ms, [num_frames]."""
    inventory: tuple[str, ...]
    """Name of each class."""


def read_labels(path: str | Path | Source) -> PhoneLabels:
    """Read a label file and the `phone_inventory.txt` beside it. Without an inventory, classes are named by number.

    Raises:
        DataError: A file is missing or malformed, or a class is not in the inventory.
    """
    file: Source = Location(path) if isinstance(path, str | Path) else path
    if not file.exists():
        raise DataError(f"there is no label file {file}; check --labels")
    phones = parse_phones(read_whole_lines(file), source=file.uri)
    inventory_file = file.parent.child(INVENTORY_NAME)
    highest = max((int(classes.max()) for classes in phones.values()), default=-1)
    if not inventory_file.exists():
        return PhoneLabels(phones, tuple(str(number) for number in range(highest + 1)))
    inventory = parse_inventory(read_whole_lines(inventory_file), source=inventory_file.uri)
    if highest >= len(inventory):
        utterance_id = next(name for name, classes in phones.items() if classes.max() >= len(inventory))
        raise DataError(
            f"{file}: {utterance_id} has class {int(phones[utterance_id].max())} but {INVENTORY_NAME} has classes 0 to "
            f"{len(inventory) - 1}; the two files do not belong together"
        )
    return PhoneLabels(phones, inventory)


def parse_phones(lines: Iterable[TextLine], *, source: str) -> dict[str, Phones]:
    """Parse the lines of `phones.txt`.

    Args:
        lines: Each an utterance id and its classes.
        source: Name of the file, for messages.

    Returns:
        Utterance id → class per 10 ms.

    Raises:
        DataError: A line is malformed. The message names it by its number.
    """
    import numpy as np

    phones: dict[str, Phones] = {}
    for number, line, _ in lines:
        utterance_id, *rest = line.split(maxsplit=1)
        if not rest or not _CLASSES.fullmatch(classes := rest[0].rstrip()):
            raise DataError(
                f"{source}, line {number}: expected an utterance id and a class number per 10 ms, got "
                f"{_excerpt(line)}"
            )
        values = np.array(classes.split()).astype(np.int64)
        if values.max() > MAX_CLASS:
            raise DataError(f"{source}, line {number}: class {values.max()} is above {MAX_CLASS}")
        if utterance_id in phones:
            raise DataError(
                f"{source}, line {number}: {utterance_id} has labels already; remove one of the lines"
            )
        phones[utterance_id] = values.astype(np.int16)
    if not phones:
        raise DataError(f"{source} holds no labels; expected lines such as `61-70968-0000 0 0 16 16`")
    return phones


def format_phones(phones: dict[str, Phones]) -> str:
    """The text that `parse_phones` reads."""
    return "".join(f"{name} {' '.join(map(str, classes.tolist()))}\n" for name, classes in phones.items())


def parse_inventory(lines: Iterable[TextLine], *, source: str) -> tuple[str, ...]:
    """Parse the lines of `phone_inventory.txt`: `class PHONE` with classes 0, 1, 2, ... in any order.

    Raises:
        DataError: A line is malformed, or a class is missing.
    """
    names: dict[int, str] = {}
    for number, line, _ in lines:
        fields = line.split()
        if len(fields) != 2 or not re.fullmatch(r"[0-9]{1,5}", fields[0]):
            raise DataError(f"{source}, line {number}: expected `class PHONE`, got {_excerpt(line)}")
        phone_class, name = int(fields[0]), fields[1]
        if phone_class in names or name in names.values():
            raise DataError(f"{source}, line {number}: {_excerpt(line)} repeats a class or a phone")
        names[phone_class] = name
    if sorted(names) != list(range(len(names))) or not names:
        raise DataError(
            f"{source}: classes must be 0 to n - 1 without gaps, got {_excerpt(str(sorted(names)))}"
        )
    return tuple(names[phone_class] for phone_class in range(len(names)))


def format_inventory(inventory: tuple[str, ...]) -> str:
    """The text that `parse_inventory` reads."""
    return "".join(f"{number} {name}\n" for number, name in enumerate(inventory))


def fits(num_frames: int, num_samples: int) -> bool:
    """Whether `num_frames` labels can belong to audio of `num_samples`."""
    num_whole_frames = num_samples // HOP_SAMPLES
    return num_whole_frames - SHORT_BY_FRAMES <= num_frames <= num_whole_frames + 1


def _excerpt(line: str) -> str:
    return repr(line if len(line) <= 40 else f"{line[:37]}...")
