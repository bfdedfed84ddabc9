"""States are colored on terminals alone, and only in their column."""

from __future__ import annotations

import click
import pytest

from tests.cli.test_live import Screen
from vgim.cli.color import color_states, echo_table, label

TABLE = """run       state        step
failed    finished       12
running   interrupted     3
b         odd             1
failed: its record cannot be read"""


def test_only_the_states_of_the_column_are_colored() -> None:
    assert color_states(TABLE).split("\n") == [
        "run       state        step",
        "failed    \x1b[32mfinished\x1b[0m       12",
        "running   \x1b[33minterrupted\x1b[0m     3",
        "b         odd             1",
        "failed: its record cannot be read",
    ]
    assert click.unstyle(color_states(TABLE)) == TABLE


def test_a_table_without_states_stays_as_it_is() -> None:
    assert color_states("run  restate\nfailed  failed") == "run  restate\nfailed  failed"


def test_a_pipe_gets_no_colors(capsys: pytest.CaptureFixture[str]) -> None:
    echo_table(TABLE)
    assert capsys.readouterr().out == f"{TABLE}\n"


def test_errors_are_colored_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert label("error:", "red", Screen()) == "\x1b[31m\x1b[1merror:\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert label("error:", "red", Screen()) == "error:"
