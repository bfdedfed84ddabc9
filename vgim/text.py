"""Text for people: tables for the terminal, counts, lists of words, times, and what an error says in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vgim.secrets import mask_secrets

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST_URI = 8192
_OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, changes of the direction of writing, and bytes that are no text."""
GAP = "  "
"""Between two columns."""
MISSING = "-"
"""Cell of a table whose value is not known."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class's name if it has no message.

    Ray, torch and object stores put paragraphs into their messages; the first line says what happened.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def shorten(text: str, width: int = 60) -> str:
    """A user's text for a message: on one line, cut after `width` characters, marks that terminals obey escaped.

    Passwords and keys of URIs are masked before the text is cut, since half a URI is not recognized.
    """
    text = mask_secrets(text[:LONGEST_URI])
    line = "".join(mark if mark.isprintable() else repr(mark)[1:-1] for mark in text[: width + 1])
    return line if len(line) <= width else f"{line[: width - 3]}..."


def printable(text: str) -> str:
    """Text with marks that terminals obey escaped, such as those of a file's name; line ends and tabs are kept."""
    return _OBEYED.sub(lambda mark: repr(mark[0])[1:-1], text)


def without_middle(line: str, width: int = 1000) -> str:
    """A line that is cut in its middle where it is longer than `width`: its beginning and its end say most."""
    return line if len(line) <= width else f"{line[: width - width // 3]} ... {line[-(width // 3) :]}"


def whole_number(text: str) -> int | None:
    """The number that text of at most 18 digits says; None for any other text, a sign included."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None


def first_problem(error: ValidationError) -> str:
    """The first problem that pydantic found, with its key: `splits.train: Field required`."""
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")  # of a check of ours
    return f"{key}: {message}" if key else message


def join_words(words: Sequence[str]) -> str:
    """A list in a sentence: `a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def numbered(noun: str, numbers: Sequence[int]) -> str:
    """Numbers that follow one another: `module 0`, `modules 1 and 2`, `modules 1 to 3`."""
    if len(numbers) == 1:
        return f"{noun} {numbers[0]}"
    return f"{noun}s {numbers[0]} {'and' if len(numbers) == 2 else 'to'} {numbers[-1]}"


def first_few(names: Iterable[str], num_shown: int = 3) -> str:
    """The first names and the number of the others: `a, b, c and 4 more`."""
    names = list(names)
    more = f" and {len(names) - num_shown} more" if len(names) > num_shown else ""
    return ", ".join(names[:num_shown]) + more


def plural(count: int, noun: str) -> str:
    """`1 utterance`, `2,000 utterances`, `2 analyses`."""
    return f"{count:,} {noun if count == 1 else plural_of(noun)}"


def plural_of(noun: str) -> str:
    """`utterances`, `analyses`, `MB`."""
    if noun.isupper():  # a unit of measure
        return noun
    return f"{noun[:-2]}es" if noun.endswith("sis") else f"{noun}s"


def format_number(value: float | None, spec: str) -> str:
    """A number by a format specification such as `.4f`; a dash for None."""
    return MISSING if value is None else format(value, spec)


def cell(value: object) -> str:
    """A value of a record as text for a page: numbers with four digits, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:g}"
    return str(value)


def use_indices(count: int) -> str:
    """`use 0 to 3`, or `use 0` where there is one: what to give for an index that does not exist."""
    return "use 0" if count == 1 else f"use 0 to {count - 1}"


def align_columns(rows: Sequence[Sequence[str]], num_left: int = 1, width: int | None = None) -> str:
    """A table for the terminal, two spaces between columns.

    Args:
        rows: Cells of each row, the header's first; all rows are equally long. Marks that terminals obey are escaped.
        num_left: Columns that are aligned to the left, counted from the first; the others are aligned to the right.
        width: Columns of the terminal. A wider table is cut into several, each of which begins with the first column.
            None does not cut; nor is a table cut whose first column does not tell its rows apart.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    if len({row[0] for row in rows}) < len(rows):
        width = None
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n\n".join(
        "\n".join(
            GAP.join(
                row[i].ljust(widths[i]) if i < num_left else row[i].rjust(widths[i]) for i in columns
            ).rstrip()
            for row in rows
        )
        for columns in _parts(widths, width)
    )


def _parts(widths: Sequence[int], width: int | None) -> list[list[int]]:
    """Indices of the columns of each part of a table: the first, and as many others as fit."""
    parts = [[0]]
    for i in range(1, len(widths)):
        used = sum(widths[k] + len(GAP) for k in parts[-1]) + widths[i]
        if width is not None and used > width and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(i)
    return parts


def format_clock(seconds: float) -> str:
    """A time as `1:02:03`, or `2:03` below an hour."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def format_duration(seconds: float) -> str:
    """A time in words: `3 h 12 min`, `4 min`, `12 s`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
