"""A new analysis is one class and one line in the registry."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from vgim.cli import main
from vgim.latents.analysis import AnalysisInput, AnalysisOutput, Need
from vgim.latents.registry import ANALYSES, load_analysis
from vgim.latents.result import LatentOptions


class ChannelCount:
    """An analysis that counts the dimensions."""

    title: ClassVar[str] = "Number of dimensions"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def run(self, inputs: AnalysisInput) -> AnalysisOutput:
        num = inputs.frames.num_channels
        return AnalysisOutput([f"The latents have {num} dimensions."], {"num_dimensions": num})


def test_one_line_offers_a_new_analysis_to_command_job_and_report(
    plain_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ANALYSES, "channels", f"{__name__}:ChannelCount")
    run = shutil.copytree(plain_run, tmp_path / "run")
    command = ["latents", str(run), "--module", "0", "--only", "channels", "--max-utterances", "2"]
    done = CliRunner().invoke(main, [*command, "--json", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    (result,) = json.loads(done.stdout)
    assert (result["analysis"], result["title"]) == ("channels", "Number of dimensions")
    assert result["figures"] == {"num_dimensions": 8}
    assert (run / "latents" / "module0" / "channels" / "result.json").exists()
    assert "channels" in LatentOptions().only
    assert done.stderr == ""
    page = tmp_path / "page.html"
    assert CliRunner().invoke(main, ["report", str(run), "--out", str(page)]).exit_code == 0
    assert "Number of dimensions" in page.read_text(encoding="utf-8")


def test_every_registered_analysis_loads() -> None:
    for name in ANALYSES:
        assert load_analysis(name).title


def test_options_refuse_an_analysis_that_is_not_registered() -> None:
    with pytest.raises(ValidationError, match="'tsne' is not an analysis; use distribution, map,"):
        LatentOptions(only=("tsne",))
