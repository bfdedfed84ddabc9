"""Text for people: tables, lists of words, times, errors in one line."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from vgim.text import (
    align_columns,
    first_few,
    first_line,
    first_problem,
    format_clock,
    format_duration,
    format_number,
    join_words,
    numbered,
    plural_of,
    printable,
)


class Inner(BaseModel):
    count: int


class Outer(BaseModel):
    inner: Inner


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("no bucket\nRequest id: 7"), "no bucket"),
        (ValueError("\n  late  \n"), "late"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
    ],
)
def test_an_error_is_told_by_its_first_line_or_its_class(error: BaseException, line: str) -> None:
    assert first_line(error) == line


def test_the_first_problem_names_the_key() -> None:
    with pytest.raises(ValidationError) as e:
        Outer.model_validate({"inner": {"count": "many"}})
    assert first_problem(e.value).startswith("inner.count: Input should be a valid integer")
    with pytest.raises(ValidationError) as e:
        Outer.model_validate(3)
    assert first_problem(e.value).startswith("Input should be a valid dictionary")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")],
)
def test_words_are_joined_as_in_a_sentence(words: list[str], sentence: str) -> None:
    assert join_words(words) == sentence


def test_a_long_list_says_how_many_are_left_out() -> None:
    assert first_few(["a", "b", "c"]) == "a, b, c"
    assert first_few("abcdefg") == "a, b, c and 4 more"


def test_numbers_in_a_row_are_told_by_their_ends() -> None:
    assert numbered("module", [3]) == "module 3"
    assert numbered("module", range(2)) == "modules 0 and 1"
    assert numbered("rank", (1, 2, 3)) == "ranks 1 to 3"


def test_words_have_a_plural_and_units_of_measure_have_none() -> None:
    assert [plural_of(noun) for noun in ("file", "analysis", "MB")] == ["files", "analyses", "MB"]


def test_columns_are_aligned_to_the_left_and_to_the_right() -> None:
    rows = [("run", "loss"), ("quickstart", "1.5"), ("sim", "-")]
    assert align_columns(rows) == "run         loss\nquickstart   1.5\nsim            -"
    assert align_columns([("run", "note"), ("sim", "")], num_left=2) == "run  note\nsim"


def test_a_table_that_is_wider_than_the_terminal_is_cut_into_parts_that_begin_with_the_first_column() -> None:
    rows = [("run", "state", "step", "loss"), ("sim", "finished", "1,000", "2.31")]
    assert align_columns(rows, 2, 19) == "run  state\nsim  finished\n\nrun   step  loss\nsim  1,000  2.31"
    assert align_columns(rows, 2, 5).count("sim") == 3  # a column is never cut
    assert align_columns(rows, 2, 80) == align_columns(rows, 2)
    alike = [*rows, rows[-1]]  # parts of such a table would not tell which row is which
    assert align_columns(alike, 2, 19) == align_columns(alike, 2)


def test_a_table_escapes_marks_that_terminals_obey_and_stays_aligned() -> None:
    assert align_columns([("name", "step"), ("\x1b[31mred", "1")]).split("\n") == [
        "name         step",
        "\\x1b[31mred     1",
    ]


def test_a_number_that_is_not_known_is_a_dash() -> None:
    assert (format_number(1.23456, ".2f"), format_number(None, ".2f")) == ("1.23", "-")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3_599, "59:59"), (3_723, "1:02:03")]
)
def test_a_time_shows_as_on_a_clock(seconds: float, shown: str) -> None:
    assert format_clock(seconds) == shown


@pytest.mark.parametrize(("seconds", "words"), [(12, "12 s"), (240, "4 min"), (11_520, "3 h 12 min")])
def test_a_duration_is_told_in_words(seconds: float, words: str) -> None:
    assert format_duration(seconds) == words


def test_marks_that_terminals_obey_are_escaped() -> None:
    assert printable("épée 名 5\u00a0% – a\tb\nc") == "épée 名 5\u00a0% – a\tb\nc"
    assert printable("a\x1b[2J\r\x9b\u202eb\ud800") == r"a\x1b[2J\r\x9b\u202eb\ud800"
