"""Sweeps through Ray Tune: to the end and on from there, with a trial that fails, and with trials that are stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.faults import drivers_with, hold_until, kill_once, trials_with
from tests.tune.sweep_cases import MakeSweep
from vgim.config import ResolvedConfig
from vgim.progress import MessagesOnly
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import read_metrics
from vgim.training.trainer import run_location, train
from vgim.tune import ray_tuner
from vgim.tune.job import run_sweep
from vgim.tune.pbt_lineage import read_lineage
from vgim.tune.pbt_member import IntervalReport, run_member
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext
from vgim.tune.trials import trials_of

NO_PROCESS = 2**22 + 1  # above any that Linux gives


def launches(sweep: Sweep) -> dict[str, int]:
    records = {trial.id: RunFolder(trial.run).record() for trial in trials_of(sweep)}
    return {name: record.launches for name, record in records.items() if record is not None}


def test_a_sweep_runs_to_its_end_and_its_command_again_tries_only_what_failed(
    ray_session: None, tiny_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    space = {"optim.learning_rate": "[1e-3, 1e6]", "model.depth": "[1, 2]"}
    sweep = tiny_sweep(space, "train.schedule=sequential", "train.epochs=1")
    run_sweep(sweep, dry_run=True, progress=MessagesOnly(print))
    assert "4 trials by grid" in capsys.readouterr().out
    assert not sweep.folder.exists()
    result = run_sweep(sweep, progress=MessagesOnly(print))
    assert result is not None
    states = {trial.id: trial.state for trial in result.trials}
    assert states == {
        "learning_rate0.001-depth1": "finished",
        "learning_rate0.001-depth2": "finished",
        "learning_rate1000000-depth1": "failed",
        "learning_rate1000000-depth2": "waiting",  # it would have started from the one that failed
    }
    told = capsys.readouterr().out
    assert "learning_rate1000000-depth1 failed: the gradient of module 0 is not finite" in told
    assert launches(sweep) == dict.fromkeys(list(states)[:3], 1)
    run_sweep(sweep, progress=MessagesOnly(print))
    assert list(launches(sweep).values()) == [1, 1, 2]
    assert "2 of them have ended already and are not run again" in capsys.readouterr().out


def test_a_population_that_was_killed_goes_on_and_its_worse_member_takes_over_the_better(
    ray_session: None, tiny_sweep: MakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = tiny_sweep(
        {"optim.learning_rate": "log 1e-4..0.3"},  # one that trains, and one that diverges
        "train.epochs=3",
        "train.limit_train_batches=4",
        samples="2",
        scheduler="{kind: pbt, quantile: 0.5, resample_probability: 0}",
    )
    good, bad = trials_of(sweep)

    def killed(report: IntervalReport) -> None:
        assert report.metric is not None
        if report.metric.epoch == 2:  # ahead of the other one, which has not begun
            raise KeyboardInterrupt

    context = TrialContext(sweep.config.metric, None, 1)
    with pytest.raises(KeyboardInterrupt):
        run_member(good, good.values, context, 1, killed, None)
    record = RunFolder(good.run).record()
    assert record is not None
    RunFolder(good.run).write(record.model_copy(update={"state": "running", "pid": NO_PROCESS}))
    result = run_sweep(sweep, progress=MessagesOnly(print))
    assert result is not None
    assert [trial.state for trial in result.trials] == ["finished", "finished"]
    for member in (bad, good):
        steps = [r["step"] for r in read_metrics(member.run) if r["kind"] == "train"]
        assert steps == list(range(1, 13))
    first, second = read_lineage(bad.run).segments
    assert (first.run, first.values) == (good.id, {"optim.learning_rate": 1e-4})
    assert (second.run, second.step, second.taken_from) == (
        bad.id,
        8,
        good.run.child("checkpoints/step-00000008").uri,
    )
    assert second.values in ({"optim.learning_rate": 1.2e-4}, {"optim.learning_rate": 1e-4})  # not 0.8e-4
    assert result.trials[1].values == second.values
    assert f"{bad.id} goes on from {second.taken_from} (epoch 2)" in capsys.readouterr().out
    assert launches(sweep) == {good.id: 3, bad.id: 3}


@pytest.mark.slow
def test_asha_stops_the_worse_trial_and_the_better_ones_worker_trains_as_this_process_does(
    ray_session: None,
    tiny_sweep: MakeSweep,
    tiny_config: Callable[..., ResolvedConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The worse trial waits after its first epoch, else it might come to its end before the sweep stops it.
    hold = hold_until(tmp_path / "never", at_step=4, learning_rate=0.3)
    monkeypatch.setattr(ray_tuner, "run_chain", trials_with(hold))
    monkeypatch.setenv("TUNE_FORCE_TRIAL_CLEANUP_S", "1")  # a stopped trial's driver does not leave by itself
    sweep = tiny_sweep(
        {"optim.learning_rate": "[1e-4, 0.3]"},  # the better first, so that the later one is behind it
        "train.epochs=3",
        "train.limit_train_batches=4",
        "trials_at_once=1",
        "cluster.workers=1",
        scheduler="{kind: asha, grace_epochs: 1, reduction_factor: 2}",
    )
    result = run_sweep(sweep)
    assert result is not None
    better, worse = result.trials
    assert (better.state, better.step, result.best) == ("finished", 12, better.id)
    assert (worse.state, worse.step) == ("stopped", 4)
    assert worse.message.startswith("stopped by the sweep")
    assert [epoch for epoch, _ in better.curve] == [1, 2, 3]
    for trial in trials_of(sweep):
        steps = [r["step"] for r in read_metrics(trial.run) if r["kind"] == "train"]
        assert steps == list(range(1, len(steps) + 1))
        complete_checkpoints(trial.run)[-1].contents()  # raises for one that is damaged
    here = tiny_config(
        "optim.learning_rate=1e-4", "train.epochs=3", "train.limit_train_batches=4", "storage.name=here"
    )
    train(here)
    on_ray, in_process = trials_of(sweep)[0].run, run_location(here.config)
    one, other = (complete_checkpoints(run)[-1].weights() for run in (on_ray, in_process))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    one, other = ([r["modules"] for r in read_metrics(run) if "modules" in r] for run in (on_ray, in_process))
    assert one == other


@pytest.mark.slow
def test_a_trial_whose_driver_is_killed_comes_back_and_ends_with_the_weights_of_an_undisturbed_run(
    ray_session: None,
    tiny_sweep: MakeSweep,
    tiny_config: Callable[..., ResolvedConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killed = tmp_path / "killed"
    fault = kill_once(killed, rank=0, at_step=6)  # two steps after the checkpoint of the first epoch
    monkeypatch.setattr(ray_tuner, "run_chain", drivers_with(fault))
    # The other trial fails by itself, and is not tried again.
    settings = ("train.epochs=3", "train.limit_train_batches=4", "trials_at_once=1")
    sweep = tiny_sweep({"optim.learning_rate": "[1e-4, 1e6]"}, *settings)
    result = run_sweep(sweep, progress=MessagesOnly(print))
    assert killed.exists()
    assert result is not None
    assert [trial.state for trial in result.trials] == ["finished", "failed"]
    assert list(launches(sweep).values()) == [2, 1]
    told = capsys.readouterr().out
    assert told.count("the driver was lost with its process or node, and is started again") == 1
    run = trials_of(sweep)[0].run
    assert [r["step"] for r in read_metrics(run) if r["kind"] == "train"] == list(range(1, 13))
    here = tiny_config("optim.learning_rate=1e-4", *settings[:2], "storage.name=here")
    train(here)
    one, other = (complete_checkpoints(r)[-1].weights() for r in (run, run_location(here.config)))
    assert all(torch.equal(one[name], other[name]) for name in one)
