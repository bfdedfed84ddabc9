"""Lines of text files as people and other programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.data.text_lines import read_whole_lines, split_lines
from vgim.errors import DataError
from vgim.storage import Location


@pytest.mark.parametrize(
    "data",
    [
        b"one\ntwo",
        b"one\r\n\r\ntwo\r\n",
        b"one\rtwo\r",
        "\ufeffone\ntwo\n".encode(),
        "\ufeffone\r\ntwo\n".encode("utf-16-le"),
        "\ufeffone\ntwo".encode("utf-16-be"),
    ],
)
def test_marks_encodings_and_line_ends_make_no_difference(data: bytes) -> None:
    assert [line.text for line in split_lines(data)] == ["one", "two"]


def test_other_separators_of_unicode_end_no_line() -> None:
    text = "a\x0b\x0c\x1c\x85\u2028b"
    (line,) = split_lines(text.encode())
    assert line.text == text


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("caf\u00e9 au".encode("latin-1"), "byte 0xe9 at position 4 is not UTF-8"),
        (b"a\0b", "it holds a NUL at position 2"),
    ],
)
def test_bytes_that_are_no_text_are_named_with_file_and_line(
    tmp_path: Path, bad: bytes, problem: str
) -> None:
    file = tmp_path / "list.txt"
    file.write_bytes(b"first\n\n" + bad + b"\nlast\n")
    first, middle, last = split_lines(file.read_bytes())
    assert (first.problem, middle.problem, last.problem) == ("", problem, "")
    assert middle.number == 3
    with pytest.raises(DataError) as e:
        read_whole_lines(Location(file))
    assert str(e.value) == f"{file}, line 3: {problem}; save the file as UTF-8 text"


@given(st.binary(max_size=80))
def test_any_bytes_are_lines(data: bytes) -> None:
    lines = split_lines(data)
    assert [line.number for line in lines] == sorted({line.number for line in lines})
    assert all(line.text.strip() or line.problem for line in lines)
