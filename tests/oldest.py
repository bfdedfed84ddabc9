"""Runs the fast tests with the oldest versions that pyproject.toml allows: `make oldest`.

Only what vgim itself names is as old as that; what these packages need, and what only tests need, is as new as fits.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv-oldest"
UV = (sys.executable, "-m", "uv", "pip")
FOR_PEOPLE_ALONE = ("dev", "notebook")
"""Extras whose versions no user's environment has to fit."""


def main() -> int:
    """Install, print the versions, run pytest; its exit status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for name in project["optional-dependencies"] if name not in FOR_PEOPLE_ALONE]
    resolved = subprocess.run(
        [*UV, "compile", "--quiet", "--no-annotate", "--no-header", "--resolution=lowest-direct"]
        + [f"--extra={name}" for name in extras]
        + ["pyproject.toml"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    named = {name for extra in extras for name in names(project["optional-dependencies"][extra])}
    named |= names(project["dependencies"])
    oldest = [line for line in resolved.splitlines() if line.partition("==")[0] in named]
    print("\n".join(oldest), flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(oldest))
        constraints.flush()
        python = VENV / "bin" / "python"
        install = [*UV, "install", "--quiet", "--python", python, "--constraint", constraints.name]
        subprocess.run([*install, "--editable", ".[dev]"], cwd=ROOT, check=True)
    tests = [python, "-m", "pytest", "-n", "2", "--max-worker-restart=0", "-m", "not slow"]
    return subprocess.run([*tests, *sys.argv[1:]], cwd=ROOT).returncode


def names(requirements: list[str]) -> set[str]:
    """Normalized names of the packages that requirements name."""
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements}


if __name__ == "__main__":
    sys.exit(main())
