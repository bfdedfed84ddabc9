"""Pictures of an experiment's probes show all results that its runs hold, whenever these were computed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.experiment.cases import write_file
from vgim.experiment.job import run_experiment
from vgim.experiment.plan import load_experiment
from vgim.runs.layout import PROBES

FILE = """
seeds: [0]
overrides: [train.max_steps=2]
runs:
  sim: {preset: tiny}
probes:
  - {tasks: [speaker], encoders: [trained, random]}
"""


@pytest.mark.parametrize("lost", ["speaker-modules.png", "speaker-random-*"])
def test_a_picture_that_a_kill_left_out_is_drawn_by_the_same_command(
    tmp_path: Path, tiny_shards: Path, lost: str
) -> None:
    pytest.importorskip("matplotlib")
    experiment = load_experiment(write_file(tmp_path, tiny_shards, FILE), ())
    run_experiment(experiment)
    probes = experiment.runs[0].location.child(PROBES).local_path
    picture = (probes / "speaker-modules.png").read_bytes()
    gone = sorted(probes.glob(lost))
    assert gone
    for path in gone:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    run_experiment(experiment)
    assert (probes / "speaker-modules.png").read_bytes() == picture
