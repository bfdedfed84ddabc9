"""What attacks found: a line for each that went wrong, a table at the end, and the table of docs/reliability.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.attacks.kind import Kind

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"


@dataclass(frozen=True)
class Verdict:
    """The result of one attack."""

    case: str
    """Name of the attack, for `--case`: kind, seed and number."""
    kind: str
    attack: str
    complaints: tuple[str, ...]
    seconds: float
    recovery_s: float
    """Time that the same command took again, to its end."""

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return not self.complaints

    def line(self) -> str:
        """The verdict in a line."""
        if self.is_right:
            return f"right {self.case}: {self.attack}"
        more = f" (and {len(self.complaints) - 3} more)" if len(self.complaints) > 3 else ""
        return f"WRONG {self.case}: {self.attack} → {'; '.join(self.complaints[:3])}{more}"

    def to_json(self) -> str:
        """The verdict as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Verdict:
        """Read a line of `to_json`."""
        record = json.loads(line)
        return cls(**{**record, "complaints": tuple(record["complaints"])})


@dataclass(frozen=True)
class Row:
    """Counts of one kind."""

    kind: Kind
    tried: int
    wrong: int
    recovery_s: float


def rows(kinds: Iterable[Kind], verdicts: Sequence[Verdict]) -> list[Row]:
    """Counts of every kind."""
    found = []
    for kind in kinds:
        of_kind = [verdict for verdict in verdicts if verdict.kind == kind.name]
        slowest = max((verdict.recovery_s for verdict in of_kind), default=0.0)
        found.append(Row(kind, len(of_kind), sum(not verdict.is_right for verdict in of_kind), slowest))
    return found


def table(found: Sequence[Row]) -> str:
    """The table for a terminal."""
    lines = [f"{'kind':<20} {'tried':>6} {'right':>6} {'wrong':>6}  slowest recovery"]
    for row in found:
        slowest = f"{row.recovery_s:.1f} s" if row.recovery_s else "-"
        lines.append(
            f"{row.kind.name:<20} {row.tried:>6} {row.tried - row.wrong:>6} {row.wrong:>6}  {slowest:>8}"
        )
    tried, wrong = sum(row.tried for row in found), sum(row.wrong for row in found)
    lines.append(f"{'all':<20} {tried:>6} {tried - wrong:>6} {wrong:>6}")
    return "\n".join(lines)


def markdown(found: Sequence[Row]) -> str:
    """The table of docs/reliability.md."""
    lines = ["| Fault | What is lost | Tried | Recovery |", "|---|---|---|---|"]
    for row in found:
        recovery = f"{row.recovery_s:.1f} s" if row.recovery_s else "-"
        lines.append(
            f"| {row.kind.fault} | {row.kind.lost} | {row.tried - row.wrong} of {row.tried} | {recovery} |"
        )
    return "\n".join(lines)


def write_page(found: Sequence[Row], page: Path = PAGE) -> None:
    """Write the table into the page, between its marks."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{markdown(found)}\n{END}{after}", encoding="utf-8")
