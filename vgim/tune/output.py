"""All files that a sweep writes about its results."""

from __future__ import annotations

from collections.abc import Sequence

from vgim.tune.baselines import baseline_levels
from vgim.tune.page import render
from vgim.tune.results import PAGE, SweepResult, collect, ranked, write
from vgim.tune.sweep_file import Sweep
from vgim.tune.tensorboard import write_tensorboard
from vgim.tune.trials import Trial
from vgim.tune.verdict import judge_sweep


def write_results(sweep: Sweep, trials: Sequence[Trial], notes: Sequence[str] = ()) -> SweepResult:
    """Read the trials' folders; write results.json, results.csv, sweep.html and TensorBoard's events.

    Args:
        sweep: The sweep.
        trials: Its trials, with their current values.
        notes: Sentences to add to the results' notes.
    """
    keys = [axis.key for axis in sweep.config.axes]
    result = collect(sweep.config.name, sweep.config.metric, keys, trials, notes)
    levels = (*result.levels, *baseline_levels(sweep.folder, trials, sweep.config.metric))
    result = result.model_copy(update={"levels": levels})
    verdict = judge_sweep(result, ranked(result.trials, result.metric), sweep.base, sweep.folder)
    result = result.model_copy(update={"verdict": verdict})
    write_tensorboard(sweep.folder, result)
    sweep.folder.child(PAGE).write_bytes_atomic(render(result).encode())
    write(sweep.folder, result)
    return result
