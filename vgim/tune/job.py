"""A sweep from its file to its results: `vgim sweep` and ray_jobs/sweep.py call `run_sweep`.

The state of each trial is read from its run's folder, never from Tune's own files: the same command, after any kind of
end, continues with what is left. Tune decides which trials run, and when.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from vgim.claims.claim import Claim
from vgim.cluster.connect import ensure_ray
from vgim.cluster.working_dir import refuse_job_folder
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.manifest import read_manifest
from vgim.downstream.probes.registry import make_learnable_probe
from vgim.errors import DataError, Interrupted, TrainingError, VgimError
from vgim.progress import SILENT, Progress
from vgim.runs.folder import RunFolder
from vgim.runs.stop_request import requested_stop
from vgim.training.trainer import ensure_data
from vgim.tune.baselines import probe_baselines
from vgim.tune.config import MetricConfig
from vgim.tune.cost import epochs_to_end, estimate_cost
from vgim.tune.folder import SweepFolder
from vgim.tune.output import write_results
from vgim.tune.pbt import check_population, run_population
from vgim.tune.pbt_lineage import with_current_values
from vgim.tune.ray_tuner import run_tuner
from vgim.tune.resources import TrialResources, divide_cluster, missing_now
from vgim.tune.results import SweepResult, collect, format_table
from vgim.tune.schedulers import make_scheduler, optuna_search
from vgim.tune.show import current_trials, trials_with_runs
from vgim.tune.space import Values, corners
from vgim.tune.stopping import run_until_stopped
from vgim.tune.sweep_file import Sweep
from vgim.tune.trial_driver import TrialContext, has_ended, has_final_report
from vgim.tune.trials import Trial, TrialChain, all_trials, chains_of, trial_of, trials_of
from vgim.tune.watch import TrialsWatch

TUNE = "tune"
TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is handled here: runs are marked as interrupted
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # each trial's run has its own records
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may end before it has a metric
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",  # the driver of a stopped trial is training and does not end by itself
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class _Plan:
    """The trials of a sweep, and the resources that a launch runs them with."""

    sweep: Sweep
    trials: Sequence[Trial]
    chains: Sequence[TrialChain]
    resources: TrialResources
    max_epochs: int
    """Epochs of the longest trial; 0 without a scheduler."""

    @property
    def unfinished(self) -> list[TrialChain]:
        """Chains with something left to train or to probe."""
        return [chain for chain in self.chains if not _has_ended(chain, self.sweep.config.metric)]


def run_sweep(
    sweep: Sweep,
    *,
    dry_run: bool = False,
    price_per_gpu_hour: float | None = None,
    address: str | None = None,
    verbose: bool = False,
    progress: Progress = SILENT,
    width: int | None = None,
) -> SweepResult | None:
    """Run a sweep to its end, or continue it; trials that have ended are not run again.

    Args:
        dry_run: print what would run, where, and its cost; write nothing.
        price_per_gpu_hour: price of one GPU for an hour, in any currency, for the estimated cost.
        address: Ray cluster; None uses $RAY_ADDRESS, or else starts Ray on this machine.
        verbose: show Ray's log lines.
        progress: where to report the plan, how far the trials are, and the results.
        width: columns of the terminal, to which the table of results is cut; None does not cut it.

    Returns:
        The results; None for a dry run.

    Raises:
        VgimError: the sweep cannot be run, or no trial finished.
    """
    refuse_job_folder("storage.root", sweep.base.storage.root)
    refuse_job_folder("data.shards", sweep.base.data.shards)
    plan = _plan(sweep, address, verbose, progress)
    _report_plan(plan, price_per_gpu_hour, progress.message)
    if dry_run:
        return None
    _check_data(sweep, progress)
    with SweepFolder(sweep.folder).claim(sweep) as claim:
        try:
            if plan.unfinished or sweep.config.search == "optuna":
                _run(plan, claim, address, verbose, progress)
        except Interrupted:
            with suppress(VgimError):
                claim.raise_if_lost()
                write_results(sweep, current_trials(sweep, plan.trials))
            raise
        except Exception:
            claim.raise_if_lost()  # instead of what Tune makes of it
            raise
        claim.raise_if_lost()
        trials = current_trials(sweep, plan.trials)
        probe_baselines(sweep.folder, trials, sweep.config.metric, progress)
        result = write_results(sweep, trials)
    progress.message(format_table(result, width))
    progress.message(f"results: {sweep.folder.child('sweep.html').uri}")
    if result.best is None:
        raise TrainingError(
            f"no trial of {sweep.folder.uri} finished; the reasons are in the table above and in each trial's run.json"
        )
    return result


def _plan(sweep: Sweep, address: str | None, verbose: bool, progress: Progress) -> _Plan:
    """Everything that can be known, and refused, before a trial starts."""
    pbt = sweep.config.scheduler.kind == "pbt"
    trials = trials_of(sweep)  # also checks the space of optuna, whose trials are found in their folders
    if sweep.config.search == "optuna":
        trials = trials_with_runs(sweep)
    if pbt:
        trials = [with_current_values(member) for member in trials]
    private = (address or os.environ.get("RAY_ADDRESS") or "local") == "local"
    resources = divide_cluster(
        sweep.config, sweep.base, _cluster_resources(private, address, verbose, progress), private=private
    )
    max_epochs = _max_epochs(sweep, trials)
    if pbt:
        check_population(sweep, trials, resources, max_epochs, private=private)
    else:
        make_scheduler(sweep, max_epochs)
    return _Plan(sweep, trials, chains_of(sweep, trials), resources, max_epochs)


def _max_epochs(sweep: Sweep, trials: Sequence[Trial]) -> int:
    """Epochs of the longest trial; 0 without a scheduler, which alone has a use for it."""
    if sweep.config.scheduler.kind == "none":
        return 0
    if sweep.config.search == "optuna":  # which has not chosen its trials yet
        trials = [trial_of(sweep, values) for values in corners(sweep.config.axes)]
    return max(epochs_to_end(trial.config) for trial in trials)


def _check_data(sweep: Sweep, progress: Progress) -> None:
    """Prepare the embedded corpus if it is missing, and refuse shards that the metric cannot be measured on."""
    shards = ensure_data(sweep.base, progress)
    manifest = read_manifest(shards)
    check_shards_present(shards, manifest)
    metric = sweep.config.metric
    if not manifest.split("validation").utterances:
        raise DataError(
            f"{shards.uri} has no validation split, on which every metric of a sweep is measured; prepare the shards "
            "with --validation-fraction above 0"
        )
    if metric.kind == "probe":
        make_learnable_probe(metric.task, manifest)


def _cluster_resources(
    private: bool, address: str | None, verbose: bool, progress: Progress
) -> dict[str, float]:
    if private:
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}
    ensure_ray(address=address, verbose=verbose, progress=progress)
    import ray

    return dict(ray.cluster_resources())


def _report_plan(plan: _Plan, price_per_gpu_hour: float | None, say: Callable[[str], None]) -> None:
    config, folder = plan.sweep.config, plan.sweep.folder
    optuna = config.search == "optuna"
    num_trials = config.samples if optuna else len(plan.trials)
    say(f"sweep {folder.uri}: {num_trials} trials by {config.search}, scheduler {config.scheduler.kind}")
    if len(plan.chains) < len(plan.trials):
        say(f"{len(plan.chains)} chains of trials that differ in depth alone, each trained as one run")
    num_ended = sum(has_ended(trial) for trial in plan.trials)
    if num_ended:
        say(f"{num_ended} of them have ended already and are not run again")
    say(f"resources: {plan.resources.describe()}")
    if optuna:
        say("cost: unknown, because optuna chooses each trial after it has seen earlier ones")
    else:
        say(
            estimate_cost(
                plan.unfinished,
                plan.resources,
                [folder.parent],
                price_per_gpu_hour=price_per_gpu_hour,
                stops_early=config.scheduler.kind == "asha",
            )
        )


def _run(plan: _Plan, claim: Claim, address: str | None, verbose: bool, progress: Progress) -> None:
    sweep, resources = plan.sweep, plan.resources
    os.environ.update({key: os.environ.get(key, value) for key, value in TUNE_ENVIRONMENT.items()})
    # Tune finds the Ray Train workers of a trial that it stops, and frees their CPUs, through the dashboard.
    ensure_ray(
        min_cpus=math.ceil(resources.logical_cpus),
        address=address,
        verbose=verbose,
        dashboard=True,
        progress=progress,
    )
    if not verbose:
        for name in ("ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    context = TrialContext(
        sweep.config.metric, resources.placement, resources.threads, verbose, stop_folder=sweep.folder.uri
    )
    search: Any = None
    scheduler = make_scheduler(sweep, plan.max_epochs)
    unfinished = plan.unfinished
    chosen, num_trials = unfinished, len(unfinished)
    if sweep.config.search == "optuna":
        known = collect(sweep.config.name, sweep.config.metric, (), plan.trials)
        ended = {trial.id for trial in plan.trials if has_ended(trial)}
        if len(ended) >= sweep.config.samples:
            return
        search, num_trials = optuna_search(sweep, known.trials, ended), sweep.config.samples - len(ended)
    elif scheduler is not None:
        # ASHA compares with ended trials, too: these run first, report what they reported before, and train nothing.
        chosen = sorted(plan.chains, key=lambda chain: not _has_ended(chain, context.metric))
        num_trials = len(chosen)
    store = sweep.folder.child(TUNE)
    store.delete()

    def chain_of(params: Values) -> TrialChain:
        if search is None:
            return chosen[params["chain"]]
        return TrialChain((trial_of(sweep, _rounded(sweep, params)),))

    def on_end(chain: TrialChain, error: str | None) -> None:
        claim.raise_if_lost()
        for trial in chain.trials:
            _record_end(trial, error)
            record = RunFolder(trial.run).readable_record()
            if record is None and requested_stop(sweep.folder):
                continue  # it did not begin
            state = "not started" if record is None else f"{record.state}: {record.message}"
            progress.message(f"{trial.id}: {state}")
        with suppress(VgimError):
            write_results(sweep, current_trials(sweep, list(all_trials(plan.chains))))

    def run_trials() -> None:
        if sweep.config.scheduler.kind == "pbt":
            members = [chain.trials[0] for chain in unfinished]
            run_population(store, sweep, members, context, resources, on_end=on_end)
        else:
            run_tuner(
                store,
                chain_of,
                context,
                resources,
                num_trials,
                max_failures=sweep.base.cluster.max_failures,
                scheduler=scheduler,
                search=search,
                on_end=on_end,
            )

    def known_trials() -> Sequence[Trial]:
        return current_trials(sweep, list(all_trials(plan.chains)))

    num_all = sweep.config.samples if search is not None else len(list(all_trials(plan.chains)))
    num_ended = sum(map(has_ended, plan.trials))
    with (
        progress.stage("training trials", total=num_all, unit="trial", done=num_ended) as stage,
        TrialsWatch(stage, known_trials, lambda: missing_now(resources)),
    ):
        run_until_stopped(
            run_trials, sweep.folder, known_trials, sweep.base.cluster.stop_grace_s, progress.message
        )
    store.delete()


def _record_end(trial: Trial, error: str | None) -> None:
    """Record the end of a run that could not record it: Tune stopped the trial, or its process died."""
    folder = RunFolder(trial.run)
    record = folder.readable_record()
    # A trial that Tune stops loses its workers; its process may take that for a failure before Tune says what it was.
    unrecorded = ("running", "failed") if error is None else ("running",)
    if record is None or record.state not in unrecorded:
        return
    if error is None:
        folder.set_state("stopped", "stopped by the sweep: others were better at the same epoch")
    else:
        folder.set_state("failed", f"the trial's process ended: {error}", TrainingError.__name__)


def _rounded(sweep: Sweep, params: Values) -> Values:
    """Optuna's proposal with as many digits as the sweep's own draws have."""
    return {axis.key: axis.rounded(params[axis.key]) for axis in sweep.config.axes}


def _has_ended(chain: TrialChain, metric: MetricConfig) -> bool:
    return all(has_ended(trial) and has_final_report(trial, metric) for trial in chain.trials)
