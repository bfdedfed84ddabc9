"""Doors for the next one: what a test registers from its own file works in every command without a change elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from vgim.cli import main
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.data.shards.read import Utterance
from vgim.downstream.probes.probe import UtteranceProbe
from vgim.downstream.probes.registry import PROBES
from vgim.latents.frame_labels import labelings
from vgim.tune.config import MetricConfig


class ToyProbe(UtteranceProbe):
    """Whether the speaker's position among all speakers is even or odd."""

    name = "toy"
    uses_crops = True

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(manifest)
        self.speakers = manifest.speakers

    @classmethod
    def find_classes(cls, manifest: Manifest) -> tuple[str, ...]:
        return ("even", "odd")

    def label(self, utterance: Utterance) -> int | None:
        return self.speakers.index(utterance.speaker_id) % 2


@pytest.fixture
def toy_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line in the registry."""
    monkeypatch.setitem(PROBES, "toy", f"{__name__}:ToyProbe")


def run_vgim(*args: str) -> str:
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("toy_probe")
def test_a_registered_probe_works_in_every_command(probed_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(probed_run, run, ignore=shutil.ignore_patterns("probes", "tensorboard"))
    run_vgim("probe", str(run), "--task", "toy", "--module", "0", "--encoder", "trained", "--encoder", "mfcc")
    result = json.loads((run / "probes" / "toy-trained-module0" / "result.json").read_text())
    assert (result["task"], result["unit"], sorted(result["per_class"])) == (
        "toy",
        "utterance",
        ["even", "odd"],
    )
    assert result["num_left_out"] == 0
    assert "probe: toy, % (95 % interval)" in run_vgim("compare", str(run))
    run_vgim("report", str(run), "--out", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "Accuracy of a linear toy probe on the test split" in page
    assert f"{result['accuracy']:.1%}" in page


@pytest.mark.usefixtures("toy_probe")
def test_sweeps_and_analyses_of_latents_know_a_registered_probe(tiny_shards: Path) -> None:
    assert MetricConfig(kind="probe", task="toy").task == "toy"
    named = {labeling.name: labeling.classes for labeling in labelings(read_manifest(tiny_shards))}
    assert named["toy"] == ("even", "odd")
    assert list(named)[:2] == ["speaker", "phone"]


def test_a_probe_that_is_not_registered_is_refused_with_the_names_of_all(probed_run: Path) -> None:
    result = CliRunner().invoke(main, ["probe", str(probed_run), "--task", "toy"])
    assert result.exit_code == 2
    assert all(name in result.stderr for name in PROBES)
