"""Tables: recognized columns of numbers, and the format of values."""

from __future__ import annotations

import pytest

from vgim.report.tables import Table, cell


def test_columns_of_numbers_are_recognized() -> None:
    rows = (("202dafbf", "1,000", "41.2 to 45.0", "–"), ("1abc", "–", "3 to 4", "1.25 ms"))
    assert Table("", ("hash", "count", "interval", "period"), rows).numeric == (False, True, True, True)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1234, "1,234"),
        (2.0, "2"),
        (0.123456, "0.1235"),
        (True, "True"),
        ("a", "a"),
        (1e30, "1e+30"),
    ],
)
def test_values_are_written_with_few_digits(value: object, text: str) -> None:
    assert cell(value) == text
