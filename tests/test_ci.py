"""Continuous integration runs the checks and both stages of the tests, and says at its end how each of them went."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAKE = """#!/bin/sh
echo "$1 ran with CI=$CI"
test "$1" != "$FAILS"
"""


@pytest.mark.parametrize(
    ("fails", "summary"),
    [
        ("", ["check passed", "test-fast passed", "test-slow passed", "chaos passed"]),
        ("test-fast", ["check passed", "test-fast failed", "test-slow not run", "chaos not run"]),
        ("chaos", ["check passed", "test-fast passed", "test-slow passed", "chaos failed"]),
    ],
)
def test_ci_ends_with_a_line_for_every_stage(tmp_path: Path, fails: str, summary: list[str]) -> None:
    (tmp_path / "make").write_text(MAKE)
    for program in ("chromium", "ip"):  # so that none is installed
        (tmp_path / program).touch()
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "FAILS": fails}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True)
    stages, _, end = done.stdout.rpartition("== .ci/run\n")
    told = [
        re.sub(r"(passed in|failed after) \d+ s$", r"\1 N s", " ".join(line.split()))
        for line in end.splitlines()
    ]
    assert told == [
        line + {"passed": " in N s", "failed": " after N s"}.get(line.split()[1], "") for line in summary
    ]
    assert (done.returncode == 0) == (not fails)
    run = [line.partition(" ran with ")[0] for line in stages.splitlines() if line.endswith("CI=true")]
    assert run == [line.split()[0] for line in summary if "not run" not in line]


def test_the_two_stages_make_the_whole_suite() -> None:
    makefile = (ROOT / "Makefile").read_text()
    recipes = dict(re.findall(r"^(test[a-z-]*):.*\n\t(.*)", makefile, flags=re.MULTILINE))
    choices = {name: re.search(r"-m '?(not slow|slow)'?", recipe) for name, recipe in recipes.items()}
    assert {name: found and found[1] for name, found in choices.items()} == {
        "test": None,
        "test-fast": "not slow",
        "test-slow": "slow",
    }


def test_make_passes_by_a_python_for_which_ray_has_no_build(tmp_path: Path) -> None:
    code = "import sys; sys.version_info = (3, 15); "
    (tmp_path / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}$2"\n')
    (tmp_path / "python3").chmod(0o755)
    (tmp_path / "python3.14").symlink_to(sys.executable)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    make = ["make", "install", f"VENV={tmp_path}/venv"]
    planned = subprocess.run([*make, "-n"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert f'"python3.14" -m venv {tmp_path}/venv' in planned.stdout
    new = subprocess.run(
        [*make, f"PYTHON={tmp_path}/python3"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert new.returncode
    assert (
        f"vgim needs Python 3.11 to 3.14 with the venv module, which {tmp_path}/python3 is not" in new.stderr
    )
