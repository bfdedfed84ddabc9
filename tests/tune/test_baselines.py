"""An untrained encoder and MFCCs beside the trials of a sweep, on the same utterances."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recorded import Recorded
from tests.tune.sweep_cases import MakeSweep, run_here
from vgim.data.reshard.split import split
from vgim.errors import DataError
from vgim.runs.checkpoint import complete_checkpoints
from vgim.tune import job, quick_probe
from vgim.tune.baselines import FILE, baseline_levels, probe_baselines
from vgim.tune.config import MetricConfig
from vgim.tune.output import write_results
from vgim.tune.quick_probe import probe_checkpoint
from vgim.tune.trials import trials_of

METRIC = "{kind: probe, task: speaker, max_utterances: 16}"


def test_baselines_are_probed_once_and_stand_as_lines_on_the_page(
    tiny_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = {"objective.kld_weight": "[0.001, 0.01]", "model.depth": "[1, 2]"}
    sweep = tiny_sweep(space, "train.max_steps=1", "train.schedule=sequential", metric=METRIC)
    trials, metric = trials_of(sweep), sweep.config.metric
    progress = Recorded()
    probe_baselines(sweep.folder, trials, metric, progress)
    assert progress.stages == []  # no trial has finished
    run_here(sweep)
    probe_baselines(sweep.folder, trials, metric, progress)
    assert progress.of("probing baselines").done == 3  # MFCCs, and an untrained encoder of each depth
    levels = {level.name: level.value for level in write_results(sweep, trials).levels}
    by_depth = {trial.values["model.depth"]: complete_checkpoints(trial.run)[-1] for trial in trials}
    untrained = [probe_checkpoint(checkpoint, metric, "random").accuracy for checkpoint in by_depth.values()]
    assert levels["best untrained"] == max(untrained)
    assert levels["MFCC"] == probe_checkpoint(by_depth[1], metric, "mfcc").accuracy
    page = sweep.folder.child("sweep.html").read_text()
    assert f"best untrained {levels['best untrained']:.4g}" in page
    assert f"MFCC {levels['MFCC']:.4g}" in page
    shallow = [trial for trial in trials if trial.values["model.depth"] == 1]
    assert [level.name for level in baseline_levels(sweep.folder, shallow, metric)] == ["untrained", "MFCC"]

    def refuse(*_: object) -> None:
        raise AssertionError("a stored baseline is probed again")

    monkeypatch.setattr(quick_probe, "probe_checkpoint", refuse)
    probe_baselines(sweep.folder, trials, metric, progress)
    lines = sweep.folder.child(FILE).read_bytes().splitlines()
    assert len(lines) == 3
    sweep.folder.child(FILE).write_bytes_atomic(b"\n".join([b"{", *lines[1:]]) + b"\n")
    assert len(list(baseline_levels(sweep.folder, trials, metric))) == 2  # a damaged line hides no other


def test_a_sweep_whose_metric_is_infonce_has_no_baselines(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep({"objective.kld_weight": "[0.001]"})
    probe_baselines(sweep.folder, trials_of(sweep), MetricConfig(kind="nce"), Recorded())
    assert list(baseline_levels(sweep.folder, trials_of(sweep), MetricConfig(kind="nce"))) == []
    assert not sweep.folder.child(FILE).exists()


def test_a_baseline_that_cannot_be_probed_is_told_and_ends_no_sweep(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep({"objective.kld_weight": "[0.001]"}, "train.max_steps=1", metric=METRIC)
    run_here(sweep)
    (trial,) = trials_of(sweep)
    for checkpoint in complete_checkpoints(trial.run):
        checkpoint.location.delete()
    progress = Recorded()
    probe_baselines(sweep.folder, [trial], sweep.config.metric, progress)
    assert [line.partition(":")[0] for line in progress.messages] == [
        f"the baseline {kind} of {trial.id} is not shown" for kind in ("random", "mfcc")
    ]


def test_a_probe_that_cannot_be_learned_on_the_shards_is_refused_before_a_trial_starts(
    tiny_sweep: MakeSweep, tiny_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = tmp_path / "apart"
    split(tiny_shards, apart, validation_fraction=0.25, test_fraction=0.25, disjoint_speakers=True)
    sweep = tiny_sweep({"objective.kld_weight": "[0.001, 0.01]"}, f"data.shards={apart}", metric=METRIC)
    monkeypatch.setattr(job, "_run", lambda *arguments: pytest.fail("trials were started"))
    with pytest.raises(DataError, match="no speaker of these shards is in two splits"):
        job.run_sweep(sweep)
    assert not sweep.folder.exists()
