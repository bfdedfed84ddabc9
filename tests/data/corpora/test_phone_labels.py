"""Phone labels and inventories are parsed strictly, and errors name the line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.data.corpora.phone_labels import (
    fits,
    format_inventory,
    format_phones,
    parse_inventory,
    parse_phones,
    read_labels,
)
from vgim.data.text_lines import TextLine, split_lines
from vgim.errors import DataError

ids = st.from_regex(r"[0-9A-Za-z_]{1,8}-[0-9]{1,4}-[0-9]{4}", fullmatch=True)
classes = st.lists(st.integers(0, 32_767), min_size=1, max_size=30).map(lambda c: np.array(c, np.int16))


def lines(text: str) -> list[TextLine]:
    return split_lines(text.encode())


def test_spaces_and_tabs_separate_fields_alike() -> None:
    (values,) = parse_phones(lines("a\t0 0\t 3 \r\n"), source="x").values()
    assert values.tolist() == [0, 0, 3]


@given(st.dictionaries(ids, classes, min_size=1, max_size=5))
def test_labels_survive_writing_and_reading(phones: dict[str, np.ndarray]) -> None:
    back = parse_phones(lines(format_phones(phones)), source="x")
    assert list(back) == list(phones)
    for name, values in phones.items():
        assert back[name].dtype == np.int16
        np.testing.assert_array_equal(back[name], values)


@given(st.lists(st.from_regex(r"[A-Z]{1,4}[0-9]?", fullmatch=True), min_size=1, max_size=50, unique=True))
def test_inventories_survive_writing_and_reading(names: list[str]) -> None:
    assert parse_inventory(lines(format_inventory(tuple(names))), source="x") == tuple(names)


@given(st.text(max_size=60))
def test_any_text_gives_labels_or_a_data_error(text: str) -> None:
    for parse in (parse_phones, parse_inventory):
        with suppress(DataError):
            assert parse(lines(text), source="x")


@pytest.mark.parametrize(
    "bad", ["1-1-0001", "1-1-0001 ", "1-1-0001 0 x", "1-1-0001\t", "1-1-0001 -1", " 0 x"]
)
def test_a_malformed_line_is_named_by_its_number(bad: str) -> None:
    with pytest.raises(DataError, match=r"phones\.txt, line 2: expected an utterance id"):
        parse_phones(lines(f"1-1-0000 0 1\n{bad}\n1-1-0002 1\n"), source="phones.txt")


def test_repeated_and_impossible_labels_are_refused() -> None:
    with pytest.raises(DataError, match="line 3: a has labels already"):
        parse_phones(lines("a 0\nb 1\na 1\n"), source="x")
    with pytest.raises(DataError, match="line 1: class 32768 is above"):
        parse_phones(lines("a 0 32768\n"), source="x")
    with pytest.raises(DataError, match="holds no labels"):
        parse_phones(lines("\n \n"), source="x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 SIL\n1\n", "line 2"),
        ("0 SIL\n0 AA\n", "line 2"),
        ("0 A\n1 A\n", "line 2"),
        ("0 A\n2 B\n", "gaps"),
        ("", "gaps"),
    ],
)
def test_a_malformed_inventory_is_refused(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_inventory(lines(text), source="x")


def test_labels_and_inventory_are_read_together(tmp_path: Path) -> None:
    file = tmp_path / "phones.txt"
    file.write_text("a 0 2 1\r\nb 1\n")
    assert read_labels(file).inventory == ("0", "1", "2")
    (tmp_path / "phone_inventory.txt").write_text("0 SIL\n1 AA\n")
    with pytest.raises(DataError, match=r"a has class 2 but phone_inventory\.txt has classes 0 to 1"):
        read_labels(file)
    (tmp_path / "phone_inventory.txt").write_text("2 T\n0 SIL\n1 AA\n")
    assert read_labels(file).inventory == ("SIL", "AA", "T")
    with pytest.raises(DataError, match="there is no label file"):
        read_labels(tmp_path / "other.txt")


def test_labels_fit_audio_up_to_the_frames_that_aligners_leave_out() -> None:
    assert fits(100, 16_000)
    assert fits(98, 16_100)
    assert not fits(90, 16_000)
    assert not fits(102, 16_000)
