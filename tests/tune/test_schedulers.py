"""Optuna's search: what it proposes, from which seed, and what it knows after a resumption."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tune.sweep_cases import MakeSweep
from vgim.config import ResolvedConfig
from vgim.errors import ConfigError
from vgim.runs.folder import RunFolder, State
from vgim.training.plan.rates import planned_stream
from vgim.training.progress import Progress, is_done, phases
from vgim.training.trainer import train
from vgim.tune import job
from vgim.tune.cost import epochs_to_end
from vgim.tune.job import run_sweep
from vgim.tune.results import collect
from vgim.tune.schedulers import make_scheduler, optuna_search
from vgim.tune.show import trials_with_runs
from vgim.tune.space import Values
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext, run_trial
from vgim.tune.trials import trial_of

pytest.importorskip("optuna")

SPACE = {
    "objective.kld_weight": "log 1e-4..1e-1",
    "objective.free_bits": "[0.0, 0.1]",
    "model.depth": "int 1..3",
}


def make(tiny_sweep: MakeSweep, *overrides: str) -> Sweep:
    given = ("train.epochs=1", "train.limit_train_batches=2", "train.limit_validation_batches=1")
    return tiny_sweep(SPACE, *given, *overrides, search="optuna", samples="4")


def proposals(sweep: Sweep, num: int) -> list[Values]:
    search = optuna_search(sweep, (), ())
    return [search.suggest(f"trial-{i}") for i in range(num)]


def test_optunas_proposals_lie_in_the_space_and_follow_from_the_seed(tiny_sweep: MakeSweep) -> None:
    sweep = make(tiny_sweep)
    found = proposals(sweep, 20)
    assert all(set(values) == set(SPACE) for values in found)
    assert all(1e-4 <= values["objective.kld_weight"] <= 1e-1 for values in found)
    assert {values["objective.free_bits"] for values in found} == {0.0, 0.1}
    assert {values["model.depth"] for values in found} == {1, 2, 3}
    assert found == proposals(sweep, 20)
    assert found != proposals(make(tiny_sweep, "seed=1"), 20)


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_optuna_resumes_with_ended_trials_and_proposes_interrupted_and_failed_ones_first(
    tiny_sweep: MakeSweep, state: State
) -> None:
    sweep = make(tiny_sweep)
    first, second = (
        trial_of(sweep, {axis.key: axis.rounded(values[axis.key]) for axis in sweep.config.axes})
        for values in proposals(sweep, 2)
    )
    run_trial(first, None, TrialContext(sweep.config.metric, None, 1), lambda trial, report: None)
    longer = trial_of(make(tiny_sweep, "train.epochs=2"), second.values)
    train(ResolvedConfig(longer.config, {}, ""), until_epoch=1)
    RunFolder(second.run).set_state(state)
    known = collect("small", sweep.config.metric, (), trials_with_runs(sweep)).trials
    assert {t.id: t.state for t in known} == {first.id: "finished", second.id: state}
    search = optuna_search(sweep, known, {first.id})
    assert search.suggest("again") == second.values
    assert search._ot_study.best_value == next(t.metric for t in known if t.id == first.id)
    assert search._ot_study.best_params == first.values
    assert search.suggest("new") not in proposals(sweep, 4)


def test_a_failed_trial_of_optuna_is_tried_again_by_the_same_command(
    tiny_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = make(tiny_sweep, "samples=2")
    finished, failed = (trial_of(sweep, values) for values in proposals(sweep, 2))
    for trial in (finished, failed):
        train(ResolvedConfig(trial.config, {}, ""))
    RunFolder(failed.run).set_state("failed")
    tried: list[tuple[int, Values]] = []

    def run_tuner(*args: Any, search: Any, **options: Any) -> None:
        tried.append((args[4], search.suggest("first")))

    monkeypatch.setattr(job, "ensure_ray", lambda **options: None)
    monkeypatch.setattr(job, "run_tuner", run_tuner)
    result = run_sweep(sweep)
    assert result is not None
    assert result.best == finished.id
    assert tried == [(1, failed.values)]


ASHA, PBT = "{kind: asha, grace_epochs: 3, reduction_factor: 2}", "{kind: pbt, interval_epochs: 3}"


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        (ASHA, "grace_epochs=3, but a trial has 2 epochs"),
        (PBT, "interval_epochs=3, but a member has 2 epochs"),
    ],
)
def test_a_scheduler_whose_first_comparison_no_trial_reaches_is_refused(
    tiny_sweep: MakeSweep, scheduler: str, told: str
) -> None:
    limits = ("train.epochs=9", "train.limit_train_batches=4")
    space = {"optim.learning_rate": "[0.001, 0.01]"}
    sweep = tiny_sweep(space, *limits, "train.max_steps=8", scheduler=scheduler)
    with pytest.raises(ConfigError, match=told):
        run_sweep(sweep, dry_run=True)
    run_sweep(tiny_sweep(space, *limits, "train.max_steps=13", scheduler=scheduler), dry_run=True)


def test_asha_lets_optunas_deepest_trial_train_all_its_phases(
    tiny_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = ("train.schedule=sequential", "train.epochs=4")
    sweep = tiny_sweep(SPACE, *schedule, search="optuna", samples="4", scheduler=ASHA)
    asked: list[int] = []
    monkeypatch.setattr(job, "make_scheduler", lambda sweep, max_epochs: asked.append(max_epochs))
    run_sweep(sweep, dry_run=True)
    assert asked == [3 * 4]  # model.depth: int 1..3


def test_asha_stops_no_trial_whose_epochs_are_shorter_than_the_first(tiny_sweep: MakeSweep) -> None:
    tiles = ("data.crop=tile", "data.crop_samples=8000", "train.batch_size=2", "train.schedule=sequential")
    sweep = tiny_sweep(SPACE, *tiles, "train.epochs=9", search="random", samples="2", scheduler=ASHA)
    stream, run_phases = planned_stream(sweep.base), phases(sweep.base)
    steps = [stream.num_steps(epoch) for epoch in range(9)]
    assert min(steps) < steps[0]
    settings = sweep.base.train.model_copy(update={"max_steps": 4 * steps[0]})
    progress = Progress()
    for number, phase in enumerate(run_phases):
        while not is_done(progress, phase, settings):
            progress = progress.after_step(stream.num_steps(progress.epoch))
        progress = progress.in_next_phase() if number + 1 < len(run_phases) else progress
    expected = epochs_to_end(sweep.base.model_copy(update={"train": settings}))
    assert progress.epoch > expected
    assert make_scheduler(sweep, expected)._max_t > progress.epoch
