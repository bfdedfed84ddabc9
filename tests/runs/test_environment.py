"""The source tree that results come from."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from vgim.runs import environment


def test_the_revision_of_another_project_around_an_installed_vgim_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
        return subprocess.check_output(["git", *who, *words], cwd=tmp_path, text=True).strip()

    package = tmp_path / ".venv" / "vgim"
    package.mkdir(parents=True)
    (package / "environment.py").write_text("")
    (tmp_path / ".gitignore").write_text(".venv\n")
    git("init", "--quiet")
    git("add", ".gitignore")
    git("commit", "--quiet", "-m", "project")
    monkeypatch.setattr(environment, "__file__", str(package / "environment.py"))
    revision = environment.git_revision.__wrapped__
    assert revision() == ""
    git("add", "--force", ".venv")
    git("commit", "--quiet", "-m", "with vgim")
    assert revision() == git("rev-parse", "HEAD")
    (package / "environment.py").write_text("changed")
    assert revision() == f"{git('rev-parse', 'HEAD')}-dirty"
