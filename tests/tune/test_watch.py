"""How far a sweep's trials are, from their folders."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from tests.recorded import RecordedStage
from tests.tune.sweep_cases import MakeSweep
from vgim.cli.stages import OpenStage
from vgim.runs.folder import RunFolder
from vgim.runs.layout import METRICS
from vgim.tune.trials import trials_of
from vgim.tune.watch import TrialsWatch


def test_ended_trials_are_counted_and_those_that_train_say_their_step(tiny_sweep: MakeSweep) -> None:
    first, second, third = trials_of(tiny_sweep({"train.seed": "[0, 1, 2]"}))
    stage = RecordedStage("trials", 3, "trial", 0)
    watch = TrialsWatch(stage, lambda: [first, second, third])
    watch.look()
    assert (stage.done, stage.detail) == (0, "")
    for trial in (first, second):
        RunFolder(trial.run).claim(trial.config, "d" * 64)
    RunFolder(first.run).set_state("finished", "finished at step 4, epoch 1")
    watch.look()
    assert (stage.done, stage.detail) == (1, f"{second.id}: starts")
    record = {"kind": "train", "step": 3, "last_step": 4, "epoch": 1, "modules": [], "time": time.time() + 1}
    Path(str(second.run.child(METRICS))).write_text(json.dumps(record) + "\n")
    assert watch.look()
    assert (stage.done, stage.detail) == (1, f"{second.id}: step 3/4")


def test_steps_of_a_trial_that_trains_tell_the_time_left_before_the_first_trial_ends(
    tiny_sweep: MakeSweep,
) -> None:
    trials = trials_of(tiny_sweep({"train.seed": "[0, 1]"}))
    now = 0.0
    stage = OpenStage(
        "training trials",
        2,
        "trial",
        0,
        even=True,
        clock=lambda: now,
        lock=threading.RLock(),
        is_outermost=True,
    )
    watch = TrialsWatch(stage, lambda: trials)
    RunFolder(trials[0].run).claim(trials[0].config, "d" * 64)
    watch.look()  # the trial starts
    path, lines = Path(str(trials[0].run.child(METRICS))), ""
    for step, at_s in ((10, 20.0), (20, 30.0), (30, 40.0), (40, 50.0), (50, 60.0)):
        now = at_s
        record = {"kind": "train", "step": step, "last_step": 100, "epoch": 1, "modules": []}
        lines += json.dumps({**record, "time": time.time() + 1}) + "\n"
        path.write_text(lines)
        watch.look()
        assert stage.done == 0
        assert (stage.time_left() == "ETA -") == (step == 10)  # one record tells no speed yet
    # 60 % of the first trial and all of the second are left, at about 10 s for a tenth, and 20 s until the first step.
    minutes, _, seconds = stage.time_left().removeprefix("ETA ").partition(":")
    assert 150 < 60 * int(minutes) + int(seconds) < 230


def test_trials_without_workers_say_what_they_wait_for(tiny_sweep: MakeSweep) -> None:
    first, second = trials_of(tiny_sweep({"train.seed": "[0, 1]"}, "cluster.workers=2"))
    missing = "waiting for 2 x 1 CPU; the cluster has 1 CPU free"
    stage = RecordedStage("trials", 2, "trial", 0)
    watch = TrialsWatch(stage, lambda: [first, second], lambda: missing)
    watch.look()
    assert stage.detail == missing
    for trial in (first, second):
        RunFolder(trial.run).claim(trial.config, "d" * 64)
    RunFolder(first.run).begin_attempt(2)
    watch.look()
    assert stage.detail == f"{first.id}: starts  {second.id}: {missing}"
    missing = ""
    watch.look()
    assert stage.detail == f"{first.id}: starts  {second.id}: starts"
