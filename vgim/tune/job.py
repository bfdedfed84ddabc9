"""A sweep from its file to its results: `vgim sweep` and ray_jobs/sweep.py call `sweep`.

What a trial has done is read from its run's folder, never from Tune's own state: the same command after any end goes
on with what is left. Tune decides which trials run, and when.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from vgim.cluster.connect import ensure_ray, refuse_scratch
from vgim.config import from_yaml
from vgim.config.keys import dump, flatten
from vgim.data.shards.manifest import check_shards_present, read_manifest
from vgim.downstream.probes.registry import make_probe
from vgim.errors import DataError, TrainingError, VgimError
from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.train.trainer import ensure_data, termination_interrupts
from vgim.tune.config import MetricConfig
from vgim.tune.cost import estimate
from vgim.tune.folder import BASE, SweepFolder
from vgim.tune.load import Sweep
from vgim.tune.pbt import check_population, run_population
from vgim.tune.pbt_member import present
from vgim.tune.plan import Chain, Trial, all_trials, chains_of, trial_of, trials_of
from vgim.tune.report import write_all
from vgim.tune.resources import TrialResources, share_out
from vgim.tune.results import SweepResult, collect, format_table
from vgim.tune.schedulers import optuna_search, scheduler_of
from vgim.tune.space import Values
from vgim.tune.trial import TrialContext, epochs_of, has_ended, has_told
from vgim.tune.tuner import run_tuner

TUNE = "tune"
SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: runs are marked as interrupted
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # a trial's run has records of its own
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial may end before it has the metric
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",  # the driver of a stopped trial is training, and does not leave by itself
    "RAY_AIR_NEW_OUTPUT": "0",
}


def sweep(
    plan: Sweep,
    *,
    dry_run: bool = False,
    price_per_gpu_hour: float | None = None,
    address: str | None = None,
    verbose: bool = False,
) -> SweepResult | None:
    """Run a sweep to its end, or go on with it; trials that have ended are left alone.

    Args:
        dry_run: say what would be run, and where, and what it would cost; nothing is written.
        price_per_gpu_hour: makes money of the estimated GPU-hours.
        address: Ray cluster; None takes $RAY_ADDRESS, else starts Ray on this machine.
        verbose: let Ray log.

    Returns:
        What was found; None for a dry run.

    Raises:
        VgimError: the sweep cannot be run, or no trial finished.
    """
    refuse_scratch("storage.root", plan.base.storage.root)
    refuse_scratch("data.shards", plan.base.data.shards)
    pbt = plan.config.scheduler.kind == "pbt"
    trials = trials_of(plan) if plan.config.search != "optuna" else known_trials(plan, check=True)
    if pbt:
        trials = [present(member) for member in trials]
    chains = chains_of(plan, trials)
    private = (address or os.environ.get("RAY_ADDRESS") or "local") == "local"
    resources = _resources(private, address, verbose)
    shares = share_out(plan.config, plan.base, resources, private=private)
    most_epochs = max((epochs_of(trial) for trial in trials), default=plan.base.train.epochs)
    # A mistake in the scheduler is told before anything starts.
    if pbt:
        check_population(plan, trials, shares, private=private)
    else:
        scheduler_of(plan, most_epochs)
    left = [chain for chain in chains if not _has_ended(chain, plan.config.metric)]
    _announce(plan, trials, chains, left, shares, price_per_gpu_hour)
    if dry_run:
        return None
    folder = SweepFolder(plan.folder)
    shards = ensure_data(plan.base)
    manifest = read_manifest(shards)
    check_shards_present(shards, manifest)
    metric = plan.config.metric
    if not manifest.split("validation").utterances:
        raise DataError(f"{shards.uri} has no validation split, which every metric needs; prepare it again")
    if metric.kind == "probe":
        make_probe(metric.task, manifest)  # fails where the shards lack labels for it
    folder.claim(plan)
    if left or plan.config.search == "optuna":
        _run(plan, chains, left, shares, most_epochs, address, verbose)
    result = write_all(plan, _trials_now(plan, trials))
    print(format_table(result))
    print(f"results: {plan.folder.child('sweep.html').uri}")
    if result.best is None:
        raise TrainingError(
            f"no trial of {plan.folder.uri} finished; the reasons are above, and in each run.json"
        )
    return result


def known_trials(plan: Sweep, *, check: bool = False) -> list[Trial]:
    """The trials that have a run's folder, whose values are read from its config.

    Args:
        check: also refuse a space that is not allowed as a whole.
    """
    if check:
        trials_of(plan)
    found = []
    for name in plan.trials.list():
        config = RunFolder(plan.trials.child(name)).config()
        if config is not None:
            flat = flatten(dump(config))
            found.append(trial_of(plan, {axis.key: flat[axis.key] for axis in plan.config.axes}))
    return found


def show(where: str) -> SweepResult:
    """Results of a sweep that runs or has ended, read anew from its trials' folders.

    Raises:
        StorageError: there is no sweep.
    """
    plan = reopen(where)
    return write_all(plan, _trials_now(plan, ()))


def reopen(where: str) -> Sweep:
    """The sweep that a folder holds."""
    folder = SweepFolder(Location(where))
    config, base = folder.config(), folder.location.child(BASE)
    return Sweep(config, from_yaml(base.read_text(), base.uri), None, folder.location.uri)


def _trials_now(plan: Sweep, trials: Sequence[Trial]) -> list[Trial]:
    """The trials with the values that they have by now; `trials` where they are known already."""
    if plan.config.search == "optuna":
        return known_trials(plan)
    trials = trials or trials_of(plan)
    return [present(t) for t in trials] if plan.config.scheduler.kind == "pbt" else list(trials)


def _resources(private: bool, address: str | None, verbose: bool) -> dict[str, float]:
    if private:
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}
    ensure_ray(address=address, verbose=verbose)
    import ray

    return dict(ray.cluster_resources())


def _announce(
    plan: Sweep,
    trials: Sequence[Trial],
    chains: Sequence[Chain],
    left: Sequence[Chain],
    shares: TrialResources,
    price_per_gpu_hour: float | None,
) -> None:
    optuna = plan.config.search == "optuna"
    num = plan.config.samples if optuna else len(trials)
    print(
        f"sweep {plan.folder.uri}: {num} trials by {plan.config.search}, scheduler {plan.config.scheduler.kind}"
    )
    if len(chains) < len(trials):
        print(f"{len(chains)} chains of trials that differ in depth alone, each trained as one run")
    ended = [trial for trial in trials if has_ended(trial)]
    if ended:
        print(f"{len(ended)} of them have ended already and are not run again")
    print(f"resources: {shares.describe()}")
    if optuna:
        print("cost: cannot be known before optuna has chosen the trials")
    else:
        told = estimate(
            left,
            shares,
            [plan.folder.parent],
            price_per_gpu_hour=price_per_gpu_hour,
            stops_early=plan.config.scheduler.kind == "asha",
        )
        print(told)


def _run(
    plan: Sweep,
    chains: Sequence[Chain],
    left: Sequence[Chain],
    shares: TrialResources,
    most_epochs: int,
    address: str | None,
    verbose: bool,
) -> None:
    os.environ.update({key: os.environ.get(key, value) for key, value in SETTINGS.items()})
    # Train's workers of a trial that Tune stops are found, and their CPUs freed, through the dashboard.
    ensure_ray(min_cpus=math.ceil(shares.logical_cpus), address=address, verbose=verbose, dashboard=True)
    if not verbose:
        for name in ("ray.tune", "ray.train"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    setting = TrialContext(plan.config.metric, shares.placement, shares.threads, verbose)
    search: Any = None
    scheduler = scheduler_of(plan, most_epochs)
    if plan.config.search == "optuna":
        known = collect(plan.config.name, plan.config.metric, (), list(all_trials(chains)))
        num_ended = sum(t.state in ("finished", "stopped", "failed") for t in known.trials)
        if num_ended >= plan.config.samples:
            return
        search, wanted = optuna_search(plan, known.trials), plan.config.samples - num_ended
    else:
        # A scheduler compares with what has ended, too: those trials tell it what they told before, and train nothing.
        chosen = (
            sorted(chains, key=lambda c: not _has_ended(c, setting.metric))
            if scheduler is not None
            else list(left)
        )
        wanted = len(chosen)
    store = plan.folder.child(TUNE)
    store.delete()

    def chain_of(params: Values) -> Chain:
        if search is None:
            return chosen[params["chain"]]
        return Chain((trial_of(plan, _rounded(plan, params)),))

    def ended(chain: Chain, error: str | None) -> None:
        for trial in chain.trials:
            _settle(trial, error)
            state = RunFolder(trial.run).record()
            print(
                f"{trial.id}: {'not started' if state is None else f'{state.state}: {state.message}'}",
                flush=True,
            )
        with suppress(VgimError):
            write_all(plan, _trials_now(plan, list(all_trials(chains))))

    try:
        with termination_interrupts():
            if plan.config.scheduler.kind == "pbt":
                members = [chain.trials[0] for chain in left]
                run_population(store, plan, members, setting, shares, ended=ended)
            else:
                run_tuner(
                    store, chain_of, setting, shares, wanted, scheduler=scheduler, search=search, ended=ended
                )
    except (KeyboardInterrupt, SystemExit):
        for trial in _trials_now(plan, list(all_trials(chains))):
            record = RunFolder(trial.run).record()
            if record is not None and record.state == "running":
                RunFolder(trial.run).set_state("interrupted", "stopped by the user")
        print("interrupted; the same command goes on with what is left")
        raise KeyboardInterrupt from None
    store.delete()


def _settle(trial: Trial, error: str | None) -> None:
    """Note how a trial ended whose run could not note it itself: it was stopped, or its process died."""
    folder = RunFolder(trial.run)
    record = folder.record()
    if record is None or record.state != "running":
        return
    if error is None:
        folder.set_state("stopped", "stopped by the sweep: others were better at the same epoch")
    else:
        folder.set_state("failed", f"the trial's process ended: {error}", TrainingError.__name__)


def _rounded(plan: Sweep, params: Values) -> Values:
    """Optuna's proposal with as many digits as our own draws have."""
    return {axis.key: axis.rounded(params[axis.key]) for axis in plan.config.axes}


def _has_ended(chain: Chain, metric: MetricConfig) -> bool:
    return all(has_ended(trial) and has_told(trial, metric) for trial in chain.trials)
