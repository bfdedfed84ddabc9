"""An experiment from its file to its runs: `vgim experiment` and ray_jobs/experiment.py call `run_experiment`.

What is done is read from the runs' folders: the same command, after any kind of end, continues with what is left.
"""

from __future__ import annotations

from vgim.errors import TrainingError, VgimError
from vgim.experiment.check import check_experiment, check_runs, is_finished
from vgim.experiment.file import Experiment, PlannedRun
from vgim.experiment.folder import ExperimentFolder
from vgim.runs.checkpoint import complete_checkpoints
from vgim.text import first_line, plural
from vgim.training.trainer import sigterm_as_interrupt, train


def run_experiment(
    experiment: Experiment, *, dry_run: bool = False, address: str | None = None, verbose: bool = False
) -> None:
    """Run an experiment to its end, or continue it; finished runs are not trained again.

    Args:
        dry_run: Print what would run; write nothing.
        address: Ray cluster; None uses $RAY_ADDRESS, or else starts Ray on this machine. Runs with
            cluster.workers=0 need none.
        verbose: Show Ray's log lines.

    Raises:
        VgimError: The experiment cannot be run, or some of it failed; the rest was done.
    """
    if dry_run:
        check_runs(experiment)
        _print_plan(experiment)
        return
    check_experiment(experiment)
    _print_plan(experiment)
    folder = ExperimentFolder(experiment.folder)
    folder.claim(experiment.config)
    failed: dict[str, VgimError] = {}
    try:
        with sigterm_as_interrupt():
            for number, run in enumerate(experiment.runs, 1):
                if is_finished(run):
                    continue
                print(f"\nrun {number} of {len(experiment.runs)}: {run.name}", flush=True)
                try:
                    train(run.resolved, address=address, verbose=verbose)
                except VgimError as error:
                    failed[run.name] = error
                    print(f"{run.name} failed: {error}", flush=True)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is left")
        raise
    finally:
        folder.release()
    if experiment.probes:
        print(
            "note: the runs are trained; the file's probes are not computed by this command yet, use vgim probe"
        )
    if failed:
        raise TrainingError(
            f"{len(failed)} of {plural(len(experiment.runs), 'run')} failed: "
            + "; ".join(f"{name} ({first_line(error)})" for name, error in failed.items())
        )


def _print_plan(experiment: Experiment) -> None:
    runs, seeds = experiment.runs, experiment.config.seeds
    print(
        f"experiment {experiment.folder.uri}: {plural(len(runs), 'run')}, {', '.join(experiment.arms)} "
        f"with {plural(len(seeds), 'seed')}"
    )
    for run in runs:
        print(f"  {run.name}: {_state(run)}")


def _state(run: PlannedRun) -> str:
    if is_finished(run):
        return "finished"
    checkpoints = complete_checkpoints(run.location)
    return f"continues at step {checkpoints[-1].state.step:,}" if checkpoints else "to be trained"
