"""Tables of the page: text cells, with columns of numbers aligned to the right."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vgim.text import cell as cell

_NUMBER = re.compile(r"[-+]?[0-9][0-9.,]*(e[-+]?[0-9]+)?(%|$| )")  # also with a unit, or "41.2 to 45.0"


@dataclass(frozen=True)
class Table:
    """A titled table of text cells."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Whether all cells of a column are numbers or empty, for each column."""
        return tuple(
            any(_is_number(row[i]) for row in self.rows)
            and all(_is_number(row[i]) or row[i] in ("", "–") for row in self.rows)
            for i in range(len(self.columns))
        )


def _is_number(cell: str) -> bool:
    return _NUMBER.match(cell) is not None
