"""How far a sweep's trials are, from their folders."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.recorded import RecordedStage
from tests.tune.sweep_cases import MakeSweep
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
