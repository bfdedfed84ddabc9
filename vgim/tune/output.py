"""All files that a sweep writes about its results."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from vgim.errors import VgimError
from vgim.runs.layout import TENSORBOARD
from vgim.storage import Location
from vgim.tune.baselines import baseline_levels
from vgim.tune.page import render
from vgim.tune.results import PAGE, SweepResult, collect, ranked, read, write
from vgim.tune.sweep_file import Sweep
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
    verdict = judge_sweep(result, ranked(result.trials, result.metric), sweep)
    result = result.model_copy(update={"verdict": verdict})
    if not _is_in_tensorboard(sweep.folder, result):
        # Imported here: TensorBoard's writers take longer to import than the results to read.
        from vgim.tune.tensorboard import write_tensorboard

        write_tensorboard(sweep.folder, result)
    sweep.folder.child(PAGE).write_bytes_atomic(render(result).encode())
    write(sweep.folder, result)
    return result


def _is_in_tensorboard(folder: Location, result: SweepResult) -> bool:
    """Whether TensorBoard's events, written before results.json, show these trials already."""
    with suppress(VgimError):
        sessions = {path.partition("/")[0] for path, _ in folder.child(TENSORBOARD).list_files()}
        shown = {trial.id for trial in result.trials if trial.state != "waiting"}
        return sessions == shown and read(folder).trials == result.trials
    return False
