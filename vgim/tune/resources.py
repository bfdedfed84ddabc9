"""How a sweep divides a cluster: resources of each trial's driver, workers and Ray Data, and how many trials fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vgim.cluster.connect import free_resources
from vgim.cluster.placement import DATA_CPUS, Placement, place_workers, refuse_idle_gpus
from vgim.config import RunConfig
from vgim.errors import ConfigError
from vgim.text import plural
from vgim.training.starting import group_states, needed_resources
from vgim.tune.config import SweepConfig


@dataclass(frozen=True)
class TrialResources:
    """The resources of each trial, and the number of trials at the same time."""

    trials_at_once: int
    placement: Placement | None
    """Resources of one trial's workers; None if a trial trains in its driver, without workers."""
    threads: int
    """torch threads of each worker."""
    driver: dict[str, float]
    """Resources that Tune reserves for a trial's driver. Ray Train reserves the workers' resources separately."""
    logical_cpus: float
    """CPUs that a private Ray must offer for all trials at once."""

    @property
    def gpus(self) -> float:
        """GPUs that one trial holds while it runs."""
        if self.placement is None:
            return self.driver.get("gpu", 0.0)
        return float(self.placement.workers) if self.placement.use_gpu else 0.0

    def missing(self, free: Mapping[str, float]) -> str:
        """What the next trial waits for, in words; empty if there is room for it.

        Args:
            free: The cluster's resources that nobody uses now; none if they are not known.
        """
        if self.placement is not None:
            needed, words = self.placement.resources, needed_resources(self.placement, free)
        else:
            needed = {name.upper(): amount for name, amount in self.driver.items()}
            words = needed_resources(Placement(1, needed["CPU"], "GPU" in needed), free)
        return words if free and any(free.get(name, 0) < amount for name, amount in needed.items()) else ""

    def describe(self) -> str:
        """One line for the user."""
        if self.placement is None:
            gpu = ", 1 GPU" if self.driver.get("gpu") else ""
            each = f"trains in its driver (1 CPU{gpu}, {plural(self.threads, 'thread')})"
        else:
            placement = self.placement
            gpu = " and 1 GPU" if placement.use_gpu else ""
            each = (
                f"has a driver (0 CPU), {plural(placement.workers, 'worker')} of {placement.cpus_per_worker:g} CPU"
                f"{gpu} and {plural(self.threads, 'thread')}, and {DATA_CPUS:g} CPU for Ray Data"
            )
        return f"{plural(self.trials_at_once, 'trial')} at once; each {each}"


def missing_now(resources: TrialResources) -> str:
    """What trials of this process wait for now, in words; empty if none waits for room."""
    if resources.placement is not None and "PENDING" not in group_states():
        return ""
    return resources.missing(free_resources())


def divide_cluster(
    sweep: SweepConfig, base: RunConfig, available: dict[str, float], *, private: bool
) -> TrialResources:
    """Divide a cluster among trials.

    Args:
        available: `CPU` and `GPU` of the cluster, or of this machine for a private Ray.
        private: whether Ray is started for this sweep; it may then count more CPUs than there are.

    Raises:
        ConfigError: the requested trials, or even one trial, do not fit into the cluster.
    """
    cluster = base.cluster
    if cluster.is_elastic:
        raise ConfigError(
            f"cluster.workers={cluster.workers} follows a cluster's nodes, but a trial has fixed resources; give "
            f"a sweep one number, such as cluster.workers={cluster.max_workers}"
        )
    cpus, gpus, workers = available.get("CPU", 0.0), available.get("GPU", 0.0), max(1, cluster.max_workers)
    on_gpu = cluster.device == "cuda" or (cluster.device == "auto" and gpus >= workers)
    asked = cluster.cpus_per_worker if isinstance(cluster.cpus_per_worker, float) else 1.0
    # On one machine Ray Data needs no core of its own: it reads while workers wait, as in a single run.
    data_cpus = 0.0 if private or not cluster.max_workers else DATA_CPUS
    fitting = math.floor(cpus / (workers * asked + data_cpus) + 1e-9)
    if on_gpu:
        fitting = math.floor(gpus / workers) if private else min(fitting, math.floor(gpus / workers))
    at_once = max(1, fitting) if sweep.trials_at_once == "auto" else sweep.trials_at_once
    if cluster.device == "auto":
        fewer = (
            f"trials_at_once={int(gpus // workers)}" if gpus >= workers else f"cluster.workers={int(gpus)}"
        )
        asked_trials = f"trials_at_once={at_once} x cluster.workers={workers}"
        refuse_idle_gpus(gpus, at_once * workers, asked_trials, fewer)
    grows = cluster.autoscaling and not private
    if cluster.device == "cuda" and gpus < at_once * workers and not grows:
        raise ConfigError(
            f"cluster.device=cuda asks for {workers} GPUs a trial, and {at_once} trials at once would take "
            f"{at_once * workers} of {gpus:g}; lower trials_at_once or cluster.workers"
        )
    # An autoscaling cluster adds nodes on request, so that its present size does not limit the threads.
    cores_per_worker = asked if grows else cpus / (at_once * workers)
    asked_threads = cluster.threads_per_worker
    threads = max(1, math.floor(cores_per_worker)) if asked_threads == "auto" else asked_threads
    if not cluster.max_workers:
        if not private and at_once > cpus and not grows:
            raise ConfigError(
                f"trials_at_once={at_once}, but the cluster has {cpus:g} CPUs; use at most {cpus:.0f}"
            )
        driver = {"cpu": 1.0, "gpu": 1.0} if on_gpu and (gpus >= at_once or grows) else {"cpu": 1.0}
        return TrialResources(at_once, None, threads, driver, float(at_once))
    offered = at_once * (workers * asked + DATA_CPUS) if private else cpus
    per_trial = {"CPU": offered / at_once, "GPU": float(math.floor(gpus / at_once)) if on_gpu else 0.0}
    try:
        placement = place_workers(cluster, per_trial)
    except ConfigError as error:
        raise ConfigError(
            f"trials_at_once={at_once} leaves each trial {per_trial['CPU']:.3g} of {cpus:g} CPUs, and {error}"
        ) from None
    # Tune refuses a driver without resources, so that it gets a byte of memory.
    placement = replace(placement, waits_its_turn=not private)
    return TrialResources(at_once, placement, threads, {"cpu": 0, "memory": 1}, offered)
