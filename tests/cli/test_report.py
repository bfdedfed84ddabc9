"""`vgim report`: what it passes on, what it prints, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from vgim.cli import main
from vgim.report.embed import Limits
from vgim.storage import Location


def vgim(*args: str) -> Result:
    return CliRunner().invoke(main, args)


def test_it_writes_the_page_and_prints_its_place(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("")
    result = vgim("report", str(tmp_path))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path}/report.html\n"
    assert "config.yaml is left out: there is no such file" in result.stderr
    assert (tmp_path / "report.html").read_text().endswith("</html>\n")


def test_every_option_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vgim_home: Path) -> None:
    given: list[Any] = []

    def write_report(*args: object) -> Location:
        given.extend(args[:-1])  # the last is the progress
        return Location("/page")

    monkeypatch.setattr("vgim.report.page.write_report", write_report)
    monkeypatch.chdir(tmp_path)
    assert vgim("report", "sim").exit_code == 0
    assert given == [f"{vgim_home}/runs/sim", [], None, Limits()]
    given.clear()
    args = "report s3://b/sim --compare gim --compare ./cpc --out x.html --clips 3 --max-mb 1.5"
    assert vgim(*args.split()).stdout == "/page\n"
    others = [f"{vgim_home}/runs/gim", f"{tmp_path}/cpc"]
    assert given == ["s3://b/sim", others, f"{tmp_path}/x.html", Limits(clips=3, megabytes=1.5)]


def test_mistakes_are_one_line_and_an_exit_code(tmp_path: Path) -> None:
    result = vgim("report", f"{tmp_path}/none")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == f"error: {tmp_path}/none is no run: it has no config.yaml; name a run's folder\n"


def test_a_job_refuses_places_in_its_throw_away_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "working_dir_files" / "pkg"
    scratch.mkdir(parents=True)
    monkeypatch.chdir(scratch)
    for args, key in ((["runs/x"], "RUN=runs/x"), (["/shared/x", "--out", "x.html"], "--out=x.html")):
        result = vgim("report", *args)
        assert result.exit_code == 2
        assert f"{key} is relative, and a job's working directory" in result.stderr


def test_the_job_takes_what_the_command_takes() -> None:
    script = Path(__file__).parents[2] / "ray_jobs" / "report.py"
    said = subprocess.check_output([sys.executable, script, "--help"], text=True)
    assert (
        said.partition("Options")[2].split()
        == vgim("report", "--help").stdout.partition("Options")[2].split()
    )
