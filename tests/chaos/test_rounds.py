"""Which attacks are made, and the table that they make."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from tests.chaos.attacks.kind import Draw
from tests.chaos.attacks.registry import KINDS
from tests.chaos.report import BEGIN, END, PAGE, Verdict, rows, table, write_page
from tests.chaos.rounds import divide, draws

ALL = list(KINDS.values())


def names(count: int, seed: int) -> list[str]:
    return [f"{draw.kind}-{draw.seed}-{draw.number}" for _, _, draw in islice(draws(ALL, seed), count)]


def test_the_first_round_has_every_kind_once_and_the_same_seed_has_the_same_attacks() -> None:
    first = names(len(ALL), 3)
    assert sorted(first) == sorted(f"{name}-3-0" for name in KINDS)
    assert names(200, 3) == names(200, 3)
    assert names(200, 3) != names(200, 4)
    assert len(set(names(500, 3))) == 500


def test_processes_share_all_kinds() -> None:
    shares = divide(ALL, 3)
    assert sorted(kind.name for share in shares for kind in share) == sorted(KINDS)
    loads = [sum(kind.cost * kind.repeats for kind in share) for share in shares]
    assert max(loads) < 1.5 * min(loads)


def test_attacks_of_growing_numbers_visit_every_group_before_one_again() -> None:
    items = [f"{group}{n}" for group in "abcde" for n in range(4)]
    chosen = [Draw(0, "x", number).spread(items, lambda item: item[0]) for number in range(10)]
    assert {item[0] for item in chosen[:5]} == set("abcde")
    assert [item[0] for item in chosen[:5]] == [item[0] for item in chosen[5:]]


def test_the_table_counts_right_and_wrong(tmp_path: Path) -> None:
    good = Verdict("kill-train-0-0", "kill-train", "train: SIGKILL", (), 3.0, 1.5)
    bad = Verdict("kill-train-0-1", "kill-train", "train: SIGKILL", ("it is gone",), 3.0, 2.5)
    assert Verdict.from_json(bad.to_json()) == bad
    assert bad.line() == "WRONG kill-train-0-1: train: SIGKILL → it is gone"
    found = rows(ALL, [good, bad])
    lines = [line.split() for line in table(found).splitlines()]
    assert ["kill-train", "2", "1", "1", "2.5", "s"] in lines
    assert lines[-1] == ["all", "2", "1", "1"]
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nearlier row\n{END}\nafter\n")
    write_page(found, page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "earlier row" not in text
    assert "| 1 of 2 | 2.5 s |" in text


def test_the_page_has_the_faults_that_are_tried() -> None:
    inside = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    listed = [
        tuple(cell.strip() for cell in line.split("|")[1:3]) for line in inside.strip().splitlines()[2:]
    ]
    assert listed == [(kind.fault, kind.lost) for kind in ALL], "run `python -m tests.chaos --write-docs`"
