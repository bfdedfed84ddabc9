"""A damaged file of one trial, or of a sweep's results, ends no `vgim sweep show`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.damage import DAMAGES
from tests.tune.sweep_cases import FinishedSweep
from vgim.cli import main

FEW = ("truncate", "not_utf8", "delete", "folder_in_its_place")
"""Damages to files of trials, which are read as those of runs: tests/runs/test_damaged_files.py has the others."""


@pytest.fixture
def sweep(finished_sweep: FinishedSweep, tmp_path: Path) -> Path:
    """A copy of the finished sweep."""
    folder = finished_sweep[0].folder.local_path
    ignore = shutil.ignore_patterns("tensorboard", "weights.safetensors", "optimizer.safetensors")
    return Path(shutil.copytree(folder, tmp_path / folder.name, ignore=ignore))


def show(sweep: Path, *options: str) -> Result:
    result = CliRunner().invoke(main, ["sweep", "show", str(sweep), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if result.exit_code:
        assert all(line.startswith("error: ") for line in result.stderr.splitlines())
    return result


@pytest.mark.parametrize("damage", FEW)
@pytest.mark.parametrize("file", ["run.json", "metrics.jsonl", "config.yaml", "latent_normality.jsonl"])
def test_one_damaged_trial_hides_no_other(sweep: Path, file: str, damage: str) -> None:
    whole = show(sweep).stdout.splitlines()
    first, *others = sorted(path.name for path in (sweep / "trials").iterdir())
    path = sweep / "trials" / first / file
    if not path.exists():
        path.write_text("{}\n")
    DAMAGES[damage](path)
    shown = show(sweep)
    assert shown.exit_code == 0, shown.output
    for name in others:
        (row,) = (line.split() for line in whole if line.startswith(f"{name} "))
        assert row in [line.split() for line in shown.stdout.splitlines()]
    if file == "run.json" and damage != "delete":
        assert f"{first} unreadable: " in shown.stdout


@pytest.mark.parametrize("found", ["null", "0.0", "-1.0", None])
def test_a_record_without_its_rate_costs_its_seconds_alone(sweep: Path, found: str | None) -> None:
    whole = show(sweep).stdout
    file = min((sweep / "trials").iterdir()) / "metrics.jsonl"
    text, key = file.read_text(), r'"steps_per_s": [^,}]+'
    assert re.search(key, text)
    file.write_text(re.sub(key, f'"steps_per_s": {found}' if found else '"lost": 1', text))
    assert show(sweep).stdout == whole


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["sweep.json", "results.json", "sweep.yaml", "base.yaml"])
def test_a_damaged_file_of_the_sweep_is_named_or_written_anew(sweep: Path, file: str, damage: str) -> None:
    is_written_anew = file in ("sweep.json", "results.json") and damage != "folder_in_its_place"
    whole = show(sweep).stdout if is_written_anew else ""
    DAMAGES[damage](sweep / file)
    shown = show(sweep)
    if is_written_anew:
        assert shown.stdout == whole
    elif shown.exit_code:
        assert file in shown.stderr
