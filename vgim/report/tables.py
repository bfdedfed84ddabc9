"""A table as the page shows it: text cells, columns of figures set to the right."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIGURE = re.compile(r"[-+]?[0-9][0-9.,]*(e[-+]?[0-9]+)?(%|$| )")  # with a unit, or "41.2 to 45.0"


@dataclass(frozen=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For each column, whether all its cells are figures."""
        return tuple(
            any(_is_figure(row[i]) for row in self.rows)
            and all(_is_figure(row[i]) or row[i] in ("", "–") for row in self.rows)
            for i in range(len(self.columns))
        )


def _is_figure(cell: str) -> bool:
    return _FIGURE.match(cell) is not None


def cell(value: object) -> str:
    """A value of a record as text: figures with four digits, nothing as a dash."""
    if value is None:
        return "–"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:g}"
    return str(value)
