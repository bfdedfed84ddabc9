"""Lines of text files that people or other programs wrote: label files, split lists, transcripts, manifests.

Such files begin with byte-order marks, end their lines in three ways, and hold bytes of other encodings.
"""

from __future__ import annotations

import codecs
import re
from typing import NamedTuple

from vgim.data.source import Source
from vgim.errors import DataError

_LINE_END = re.compile(rb"\r\n|\n|\r")
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class TextLine(NamedTuple):
    """A line without its end."""

    number: int
    """From 1."""
    text: str
    problem: str
    """What cannot be read in the line, which `text` then has as U+FFFD; empty if it is whole."""


def read_lines(file: Source) -> list[TextLine]:
    """Read a text file's lines, those that are no text included; blank ones are left out.

    Raises:
        StorageError: The file cannot be read.
    """
    return split_lines(file.read_bytes())


def read_whole_lines(file: Source) -> list[TextLine]:
    """Read the lines of a file that must be text.

    Raises:
        DataError: A line is no text; it is named by its number.
        StorageError: The file cannot be read.
    """
    lines = read_lines(file)
    for line in lines:
        if line.problem:
            raise DataError(f"{file}, line {line.number}: {line.problem}; save the file as UTF-8 text")
    return lines


def split_lines(data: bytes) -> list[TextLine]:
    """The lines of a text in UTF-8, or in UTF-16 with a byte-order mark; blank ones are left out."""
    if (encoding := _UTF16.get(data[:2])) is not None:
        data = data[2:].decode(encoding, errors="replace").encode("utf-8", errors="replace")
    lines = enumerate(_LINE_END.split(data.removeprefix(codecs.BOM_UTF8)), start=1)
    decoded = (_decode(number, line) for number, line in lines if line)
    return [line for line in decoded if line.text.strip() or line.problem]


def _decode(number: int, line: bytes) -> TextLine:
    try:
        text, problem = line.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        text = line.decode("utf-8", errors="replace")
        problem = f"byte {line[error.start]:#04x} at position {error.start + 1} is not UTF-8"
    if not problem and "\0" in text:
        problem = f"it holds a NUL at position {text.index(chr(0)) + 1}"
    return TextLine(number, text, problem)
