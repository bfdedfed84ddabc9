"""The attacks find what a broken program breaks, and nothing in a sound one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def complaints(variant: str, kind: str, count: int) -> str:
    """What attacks say about a variant; in a process of its own, since processes are forked from it."""
    command = [sys.executable, "-m", "tests.chaos.stand_in", variant, kind, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("variant", "kind", "count", "complaint"),
    [
        ("litters", "kill", 12, "is left over"),
        ("writes in place", "kill", 12, ".json differs"),
        ("says running for ever", "signal", 3, "still says running"),
        ("has another exit code", "signal", 3, "exit code 1, not"),
        ("lets errors escape", "storage", 4, "traceback"),
        ("claims nothing", "race", 1, "processes trained the same run"),
        ("believes anything", "damage", 8, "differs"),
        ("names another file", "damage", 3, "does not name input.json"),
        ("hangs", "damage", 1, "still running after 3 s"),
    ],
)
def test_attacks_report_a_broken_program(variant: str, kind: str, count: int, complaint: str) -> None:
    assert complaint in complaints(variant, kind, count)


@pytest.mark.parametrize(
    ("kind", "count"), [("kill", 15), ("signal", 6), ("storage", 10), ("race", 2), ("damage", 8)]
)
def test_attacks_find_nothing_wrong_with_a_sound_program(kind: str, count: int) -> None:
    assert complaints("sound", kind, count) == ""
