"""Recorded commands as lines for a shell."""

from __future__ import annotations

import pytest

from vgim.report.commands import command_line


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["/opt/bin/vgim", "train", "quickstart"], "vgim train quickstart"),
        (
            ["/opt/site-packages/vgim/__main__.py", "decode", "list", "a b"],
            "python -m vgim decode list 'a b'",
        ),
        (["/tmp/job/ray_jobs/probe.py", "runs/sim"], "python ray_jobs/probe.py runs/sim"),
        ([], ""),
    ],
)
def test_a_command_has_its_programs_name_instead_of_the_machines_path(command: list[str], line: str) -> None:
    assert command_line(command) == line
