"""What a shell may do to a command: output that cannot be written, and a working folder that is deleted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.errors import StorageError

PRINT = """
import os, sys
from vgim.cli import main
import click

@main.command("say")
@click.argument("file")
def say(file):
    for number in range(30000):
        print("line", number)
    open(file, "x").write(str(open(os.devnull).fileno()))

main(["say", sys.argv[1]], prog_name="vgim")
"""


def say(done: Path, redirection: str) -> subprocess.CompletedProcess[str]:
    """Run a command that prints 30,000 lines and then writes a file, by a shell."""
    command = f"'{sys.executable}' -u -c \"$PRINT\" '{done}' {redirection}"
    environment = {**os.environ, "PRINT": PRINT}
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, check=False, timeout=120
    )


@pytest.mark.parametrize("redirection", ["| head -1; exit ${PIPESTATUS[0]}", ">&-", ">&- 2>&- <&-"])
def test_a_command_whose_output_nobody_reads_does_its_work(tmp_path: Path, redirection: str) -> None:
    ended = say(tmp_path / "done", redirection)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert int((tmp_path / "done").read_text()) > 2, "a file got the number of a standard stream"


def test_a_command_whose_output_fills_the_disk_does_its_work_and_says_so(tmp_path: Path) -> None:
    ended = say(tmp_path / "done", ">/dev/full")
    assert (tmp_path / "done").exists()
    assert ended.returncode == StorageError.exit_code
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert "No space left on device" in ended.stderr


def test_a_deleted_working_folder_ends_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    result = CliRunner().invoke(main, ["runs", "runs"])
    assert (result.exit_code, result.output.count("\n")) == (StorageError.exit_code, 1)
    assert result.output.startswith("error: the working folder was deleted")
