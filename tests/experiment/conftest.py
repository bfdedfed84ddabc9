"""A finished experiment on syllables of tones: sim, gim and cpc with two seeds, probed with baselines."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.downstream.cases import make_syllables
from tests.experiment.cases import write_file
from vgim.downstream import job as probe_job
from vgim.downstream import solvers, writing
from vgim.experiment.job import run_experiment
from vgim.experiment.plan import Experiment, load_experiment

PROBED = """
seeds: [0, 1]
overrides: [train.max_steps=2, data.crop=first, data.crop_samples=4096]
runs:
  sim: {preset: tiny}
  sim-strong: {preset: tiny, overrides: [objective.kld_weight=0.1]}
  cpc: {preset: tiny, overrides: [model.family=cpc, objective.kld_weight=0, objective.kld_warmup_steps=0]}
differences: [sim - cpc, sim - random, sim - mfcc]
probes:
  - {tasks: [syllable, vowel], encoders: [trained, random, mfcc]}
"""


@pytest.fixture(scope="session")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """The experiment; tests do not change its folder."""
    folder = tmp_path_factory.mktemp("experiment")
    shards = make_syllables(folder)
    experiment = load_experiment(write_file(folder, shards, PROBED, "probed.yaml"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (writing, probe_job):
            patch.setattr(module, "can_draw", lambda: False)  # pictures of single probes are slow
        patch.setattr(solvers, "L2_PATH", (1e-2,))
        run_experiment(experiment)
    return experiment


@pytest.fixture
def probed_folder(probed: Experiment) -> Path:
    """The experiment's folder."""
    return Path(probed.folder.uri)
