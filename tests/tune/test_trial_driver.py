"""Trials trained in this process: reports, probes, depth chains, failures."""

from __future__ import annotations

import re

import pytest
from safetensors.torch import load_file

from tests.tune.sweep_cases import MakeSweep, launches, run_here
from vgim.errors import TrainingError
from vgim.runs.metrics import inherited_steps, read_metrics
from vgim.tune.output import write_results
from vgim.tune.results import format_table
from vgim.tune.trial_driver import TrialContext, run_trial
from vgim.tune.trials import trials_of


def test_a_depth_sweep_trains_the_deepest_run_once_and_shares_its_modules(
    tiny_sweep: MakeSweep,
) -> None:
    shared = tiny_sweep(
        {"model.depth": "[4, 1, 2]"}, "train.schedule=sequential", "train.epochs=1", "name=shared"
    )
    run_here(shared)
    apart = tiny_sweep(
        {"model.depth": "[4, 1, 2]"},
        "train.schedule=sequential",
        "train.epochs=1",
        "share_depth=false",
        "name=apart",
    )
    run_here(apart)
    for one, other in zip(trials_of(shared), trials_of(apart), strict=True):
        name = max(one.run.child("checkpoints").list())
        ours, theirs = (
            load_file(t.run.local_path / "checkpoints" / name / "weights.safetensors") for t in (one, other)
        )
        assert ours.keys() == theirs.keys()
        assert all(bool((ours[key] == theirs[key]).all()) for key in ours)
    deep, one, two = write_results(shared, trials_of(shared)).trials
    assert len(deep.nce) == 4
    assert deep.nce[:2] == two.nce
    assert one.nce == two.nce[:1]
    own = [inherited_steps(read_metrics(trial.run)) for trial in trials_of(shared)]
    assert own == [20, 0, 10]  # so that 40 steps were taken, the deepest run's, and not 70
    assert all(trial.train_seconds > 0 for trial in (deep, one, two))


def test_reports_come_once_and_the_last_when_the_run_has_ended(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep({"objective.kld_weight": "[0.001, 0.01]"}, "train.epochs=3")
    told = run_here(sweep)
    first = [epoch for name, epoch, _ in told if name == "kld_weight0.001"]
    assert first == [1, 2, 3]
    again = run_here(sweep)
    assert again == told  # from the folders
    assert launches(sweep) == [1, 1]


def test_a_finished_trial_continues_if_the_base_asks_for_more_epochs(tiny_sweep: MakeSweep) -> None:
    run_here(tiny_sweep({"objective.kld_weight": "[0.001]"}, "train.epochs=1"))
    longer = tiny_sweep({"objective.kld_weight": "[0.001]"}, "train.epochs=2")
    assert [epoch for _, epoch, _ in run_here(longer)] == [1, 2]
    assert launches(longer) == [2]


def test_the_quick_probe_runs_every_few_epochs_and_at_the_end(tiny_sweep: MakeSweep) -> None:
    metric = "{kind: probe, task: speaker, max_utterances: 16, every_epochs: 2}"
    sweep = tiny_sweep(
        {"objective.kld_weight": "[0.001]"}, "train.epochs=3", "train.keep_last=5", metric=metric
    )
    told = run_here(sweep)
    assert [epoch for _, epoch, _ in told] == [2, 3]
    assert all(0 <= accuracy <= 1 for _, _, accuracy in told)
    (trial,) = write_results(sweep, trials_of(sweep)).trials
    assert trial.metric == told[-1][2]
    assert trial.interval is not None
    assert trial.interval.low <= trial.metric <= trial.interval.high


def test_a_trial_that_fails_is_named_with_its_reason(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep({"optim.learning_rate": "[1e-3, 1e6]"}, "train.epochs=1")
    context = TrialContext(sweep.config.metric, None, 1)
    good, bad = trials_of(sweep)
    run_trial(good, None, context, lambda trial, report: None)
    with pytest.raises(TrainingError, match="is not finite"):
        run_trial(bad, None, context, lambda trial, report: None)
    result = write_results(sweep, [good, bad])
    assert [t.state for t in result.trials] == ["finished", "failed"]
    assert result.best == good.id
    assert re.search(
        rf"^{re.escape(bad.id)} failed: the gradient of module \d is not finite", format_table(result), re.M
    )
