"""An experiment from its file to its comparison: `vgim experiment` and ray_jobs/experiment.py call `run_experiment`.

What is done is read from the runs' folders: the same command, after any kind of end, continues with what is left.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from vgim.compare.grouped import GroupedComparison
from vgim.compare.grouped_table import tables_as_text
from vgim.downstream.job import probe_many
from vgim.downstream.probe_plan import Runner, one_after_the_other
from vgim.errors import Interrupted, TrainingError, VgimError
from vgim.experiment.check import check_experiment, check_runs, is_finished
from vgim.experiment.folder import ExperimentFolder
from vgim.experiment.plan import Experiment, PlannedRun
from vgim.experiment.probes import draw_pictures, missing_probes
from vgim.experiment.results import TABLE, write_results
from vgim.progress import SILENT, Progress, WithPrefix
from vgim.runs.checkpoint import complete_checkpoints
from vgim.signals import Stopped, StopSignals, stop_signals
from vgim.text import first_line, plural
from vgim.training.trainer import train


def run_experiment(
    experiment: Experiment,
    *,
    dry_run: bool = False,
    address: str | None = None,
    verbose: bool = False,
    runner: Runner = one_after_the_other,
    progress: Progress = SILENT,
) -> GroupedComparison | None:
    """Run an experiment to its end, or continue it; finished runs and up-to-date probes are not computed again.

    Args:
        dry_run: Print what would run; write nothing.
        address: Ray cluster; None uses $RAY_ADDRESS, or else starts Ray on this machine. Runs with
            cluster.workers=0 need none.
        verbose: Show Ray's log lines.
        runner: Computes the probes; `vgim.cluster.tasks` has one that uses Ray.
        progress: Where to report the plan, how far the runs are, and the comparison.

    Returns:
        The comparison, which is also written to the folder; None for a dry run.

    Raises:
        VgimError: The experiment cannot be run, or some of it failed; the rest was done.
    """
    if dry_run:
        check_runs(experiment)
        _report_plan(experiment, progress.message)
        return None
    check_experiment(experiment)
    _report_plan(experiment, progress.message)
    folder = ExperimentFolder(experiment.folder)
    failed: dict[str, VgimError] = {}
    with folder.claimed(experiment.config) as claim:
        try:
            with (
                stop_signals() as stop,
                progress.stage("runs and their probes", total=len(experiment.runs), unit="run") as stage,
            ):
                for number, run in enumerate(experiment.runs, 1):
                    claim.raise_if_lost()
                    missing = missing_probes(experiment, run) if is_finished(run) else None
                    if missing == []:
                        # An earlier launch may have been killed between the results and the picture.
                        draw_pictures(experiment, run, anew=False)
                        stage.update(done=number)
                        continue
                    progress.message(f"\nrun {number} of {len(experiment.runs)}: {run.name}")
                    failed |= _complete(experiment, run, address, verbose, runner, stop, progress)
                    stage.update(done=number)
                    if number < len(experiment.runs):
                        claim.raise_if_lost()
                        write_results(folder, experiment.config)
        except KeyboardInterrupt as error:
            finished = sum(map(is_finished, experiment.runs))
            stopped = error if isinstance(error, Stopped) else Stopped()
            beginning = "" if isinstance(error, Interrupted) else "interrupted; "  # training has said so
            with suppress(VgimError):
                write_results(folder, experiment.config)
            progress.message(
                f"{beginning}{finished} of {plural(len(experiment.runs), 'run')} finished; "
                "the same command does the rest"
            )
            raise Interrupted(stopped.signal_number) from None
        comparison = write_results(folder, experiment.config)
    if comparison is not None:
        progress.message(f"\n{tables_as_text(comparison)}\nresults: {folder.location.child(TABLE).uri}")
    if failed:
        raise TrainingError(
            f"{plural(len(failed), 'part')} of the experiment failed: "
            + "; ".join(f"{name} ({first_line(error)})" for name, error in failed.items())
        )
    return comparison


def _complete(
    experiment: Experiment,
    run: PlannedRun,
    address: str | None,
    verbose: bool,
    runner: Runner,
    stop: StopSignals,
    progress: Progress,
) -> dict[str, VgimError]:
    """Train a run and compute its probes, as far as they are not done; returns what failed."""
    if not is_finished(run):
        try:
            train(run.resolved, address=address, verbose=verbose, progress=progress)
        except VgimError as error:
            progress.message(f"{run.name} failed: {error}")
            return {run.name: error}
        if stop.signal:  # it came when the run was about to finish
            raise Stopped(stop.signal)
    failed: dict[str, VgimError] = {}
    for options in missing_probes(experiment, run):
        progress.message(f"probe: {options.task} from {', '.join(options.encoders)}")
        _, problem = probe_many(
            [run.location.uri], [options], runner=runner, goes_on=True, progress=WithPrefix(progress, "  ")
        )
        if problem is not None:
            progress.message(f"{run.name} {options.task} failed: {problem}")
            failed[f"{run.name} {options.task}"] = problem
    draw_pictures(experiment, run, anew=True)
    return failed


def _report_plan(experiment: Experiment, say: Callable[[str], None]) -> None:
    runs, seeds = experiment.runs, experiment.config.seeds
    say(
        f"experiment {experiment.folder.uri}: {plural(len(runs), 'run')}, {', '.join(experiment.arms)} "
        f"with {plural(len(seeds), 'seed')}"
    )
    for run in runs:
        say(f"  {run.name}: {_state(experiment, run)}")


def _state(experiment: Experiment, run: PlannedRun) -> str:
    if is_finished(run):
        num_probes = sum(len(options.encoders) for options in missing_probes(experiment, run))
        return f"finished, {plural(num_probes, 'probe')} left" if num_probes else "finished"
    checkpoints = complete_checkpoints(run.location)
    return f"continues at step {checkpoints[-1].state.step:,}" if checkpoints else "to be trained"
