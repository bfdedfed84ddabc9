"""A damaged file of one run ends no `vgim experiment show`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.damage import DAMAGES
from vgim.cli import main

FEW = ("truncate", "not_utf8", "folder_in_its_place")


@pytest.fixture
def folder(probed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        "vgim.experiment.results.can_draw", lambda: False
    )  # the picture is slower than the rest
    ignore = shutil.ignore_patterns("tensorboard", "weights.safetensors", "optimizer.safetensors")
    return Path(shutil.copytree(probed_folder, tmp_path / "experiment", ignore=ignore))


@pytest.mark.parametrize("damage", FEW)
@pytest.mark.parametrize("file", ["run.json", "metrics.jsonl", "config.yaml"])
def test_one_damaged_run_is_left_out_with_its_reason(folder: Path, file: str, damage: str) -> None:
    DAMAGES[damage](folder / "runs" / "sim-seed0" / file)
    result = CliRunner().invoke(main, ["experiment", "show", str(folder)])
    assert result.exception is None, result.exception
    assert "cpc" in result.stdout
    words = " ".join(result.stdout.split())
    if damage == "delete" and file != "metrics.jsonl":
        assert "not begun: sim-seed0" in words
    elif damage != "flip" and (file != "metrics.jsonl" or damage == "folder_in_its_place"):
        assert "sim-seed0 is left out: " in words


@pytest.mark.parametrize("damage", FEW)
def test_a_damaged_result_of_a_probe_is_left_out(folder: Path, damage: str) -> None:
    probe = min((folder / "runs" / "sim-seed0" / "probes").glob("syllable-trained-*"))
    DAMAGES[damage](probe / "result.json")
    result = CliRunner().invoke(main, ["experiment", "show", str(folder)])
    assert result.exception is None, result.exception


@pytest.mark.parametrize("damage", FEW)
@pytest.mark.parametrize("file", ["experiment.yaml", "experiment.json", "results.json"])
def test_a_damaged_file_of_the_experiment_is_named_or_written_anew(
    folder: Path, file: str, damage: str
) -> None:
    path = folder / file
    if not path.exists():
        path.write_text("{}")
    DAMAGES[damage](path)
    result = CliRunner().invoke(main, ["experiment", "show", str(folder)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    if result.exit_code:
        assert all(line.startswith("error: ") for line in result.stderr.splitlines())
        assert file in result.stderr
