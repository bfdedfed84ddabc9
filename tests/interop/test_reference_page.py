"""docs/from-the-reference.md shows what the commands print and what the tables of the code hold."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.translation_cases import check, commands_of
from vgim.config.reference_spelling import TABLES, find_spelling, markdown_table
from vgim.interop.reference_programs import PROGRAMS

PAGE = Path(__file__).resolve().parent.parent.parent / "docs/from-the-reference.md"


def pairs_of_the_page() -> Iterator[tuple[str, list[str]]]:
    """Each command of the reference in the page's fenced code, and the lines below it up to a blank one."""
    for block in re.findall(r"^```\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE):
        for group in block.strip().split("\n\n"):
            theirs, *ours = group.splitlines()
            if theirs.startswith("python "):
                yield theirs, ours


def test_commands_of_the_page_are_what_the_command_prints() -> None:
    pairs = list(pairs_of_the_page())
    shown = {shlex.split(theirs)[2] for theirs, _ in pairs}
    assert {PROGRAMS[program].kind for program in shown} == {what.kind for what in PROGRAMS.values()} - {
        "gone"
    }
    for theirs, ours in pairs:
        assert commands_of(theirs) == ours
        for command in ours:
            check(command)


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_the_page_are_those_of_the_code(name: str) -> None:
    assert markdown_table(name) in PAGE.read_text()


def test_page_has_every_number_of_the_enums() -> None:
    text = PAGE.read_text()
    losses = find_spelling("decoder_config.decoder_loss")
    assert losses is not None
    for number, written in losses.values.items():
        loss = (written or "").removeprefix("--loss ")
        assert re.search(rf"^\| {number} \| .*\| `{re.escape(loss)}` \|$", text, flags=re.MULTILINE)
