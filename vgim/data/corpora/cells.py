"""Lines of a table, CSV, TSV or JSON objects, as values by the names of their columns."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vgim.data.text_lines import TextLine, split_lines
from vgim.errors import DataError
from vgim.storage import Location
from vgim.text import shorten

ReadLine = Callable[[str], Mapping[str, Any]]
"""Reads a line's values; ValueError says why it does not read."""


def open_table(
    data: bytes, file: Location, keys: Sequence[str]
) -> tuple[ReadLine, list[TextLine], tuple[str, ...]]:
    """How a table's lines are read, the lines (of JSON all, of other tables those under the header), and the header.

    Names of columns are in lower case. JSON has no header.

    Args:
        data: The content of the file.
        file: The file, for messages.
        keys: Names of columns, of which a header has one.

    Raises:
        DataError: The first line is neither a JSON object nor such a header.
    """
    lines = split_lines(data)
    if lines and lines[0].text.lstrip().startswith("{"):
        return _of_json, lines, ()
    return _cells_reader(lines, file, keys)


def text_of(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first value that one of the names has, as text with single spaces; empty if there is none."""
    return " ".join(cell_of(values, names).split())


def cell_of(values: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first value that one of the names has, with its spaces as they are; empty if there is none."""
    found = next((values[name] for name in names if values.get(name) is not None), "")
    if not isinstance(found, str | int | float) or found != found:  # Python writes missing values as NaN
        return ""
    # JSON may hold halves of characters, which no text file can.
    return str(found).encode(errors="replace").decode()


def _of_json(text: str) -> Mapping[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {shorten(text)!r}")
    return {name.lower(): value for name, value in values.items()}


def _cells_reader(
    lines: list[TextLine], file: Location, keys: Sequence[str]
) -> tuple[ReadLine, list[TextLine], tuple[str, ...]]:
    """How a line under a header is read, the lines under it, and the names in it."""
    header = lines[0] if lines else TextLine(1, keys[0], "")
    delimiter = "\t" if "\t" in header.text else ";" if ";" in header.text else ","
    try:
        names = [name.strip().lower() for name in _cells(header.text, delimiter)]
    except ValueError:
        names = []
    if not set(names) & set(keys):
        raise DataError(
            f"{file}, line {header.number}: expected a header with a column {keys[0]} (or {', '.join(keys[1:])}), got "
            f"{shorten(header.text)!r}"
        )

    def read_line(text: str) -> Mapping[str, Any]:
        cells = _cells(text, delimiter)
        if len(cells) > len(names):
            raise ValueError(
                f"{len(cells)} cells under a header of {len(names)}; quote the cells that hold {delimiter!r}"
            )
        return dict(zip(names, cells, strict=False))

    return read_line, lines[1:], tuple(names)


def _cells(text: str, delimiter: str) -> list[str]:
    """The cells of a line: with a reader for each, a quote that is not closed spoils one line."""
    try:
        return next(csv.reader([text], delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        trimmed = re.sub(rf'" +(?={delimiter}|$)', '"', text)  # spaces behind a quoted cell
        if trimmed != text:
            return _cells(trimmed, delimiter)
        if delimiter == "\t":  # quotes stand for themselves, as in the lists of Common Voice
            return text.split(delimiter)
        reason = "a quote is not closed in this line" if text.count('"') % 2 else str(error)
        raise ValueError(reason) from None
