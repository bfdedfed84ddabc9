"""What `vgim train` prints at its end."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.config import ResolvedConfig
from vgim.errors import Interrupted
from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.verdict.console import verdict_at_end


def test_training_ends_with_a_verdict_and_the_next_command(
    tiny_config: Callable[..., ResolvedConfig], tmp_path: Path
) -> None:
    tiny_config()
    result = CliRunner().invoke(main, ["train", str(tmp_path / "tiny.yaml"), "train.epochs=1"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    finished = next(i for i, line in enumerate(lines) if line.startswith("finished at step 10"))
    assert lines[finished + 1].startswith(
        "verdict: All 4 modules are at chance, no better than guessing (validation"
    )
    assert (
        lines[finished + 2]
        == "verdict: Too few steps to tell: 10 (1 epochs) are a beginning, not a collapse."
    )
    assert lines[-2] == "next, to see whether every module learns:"
    assert lines[-1].endswith("train.epochs=100")


def test_the_next_command_of_a_run_continues_it(
    probed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    run = shutil.copytree(probed_run, root / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(probed_run.parent), str(root)))
    with verdict_at_end(Location(run)):
        pass
    *_, command = capsys.readouterr().out.splitlines()
    words = command.split()
    assert words[:3] == ["vgim", "train", f"{run}/config.yaml"]
    assert words[3] == "train.epochs=100"
    before = (run / "metrics.jsonl").read_text()
    result = CliRunner().invoke(main, [*words[1:3], "train.epochs=3"])  # 100 would take long
    assert result.exit_code == 0, result.output
    assert "finished at step 30" in result.output
    assert (run / "metrics.jsonl").read_text().startswith(before)


def test_an_interruption_says_the_first_sentence_alone(
    probed_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Interrupted), verdict_at_end(Location(probed_run)):
        raise Interrupted(signal.SIGINT)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("verdict: All 4 modules")


def test_an_interruption_before_the_first_step_says_nothing(
    tiny_config: Callable[..., ResolvedConfig], capsys: pytest.CaptureFixture[str]
) -> None:
    resolved = tiny_config()
    run = Location(resolved.config.storage.root).child("run")
    RunFolder(run).claim(resolved.config, "0" * 64)
    with pytest.raises(Interrupted), verdict_at_end(run):
        raise Interrupted(signal.SIGINT)
    assert capsys.readouterr().out == ""


def test_a_verdict_that_cannot_be_read_is_one_line(
    probed_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("model: [\n")
    with verdict_at_end(Location(run)):
        pass
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("verdict: the run's figures cannot be read: ")
    with verdict_at_end(Location(tmp_path / "none")):
        pass
    assert capsys.readouterr().out == ""
