"""What a trial takes of a cluster, and how many of them fit: driver, workers and Ray Data of each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vgim.cluster.connect import DATA_CPUS, Placement, place_workers
from vgim.config import RunConfig
from vgim.errors import ConfigError
from vgim.tune.config import SweepConfig


@dataclass(frozen=True)
class TrialResources:
    """How a sweep divides a cluster among its trials."""

    trials_at_once: int
    placement: Placement | None
    """What the workers of one trial get; None where a trial trains in its driver, without workers."""
    threads: int
    """torch threads of each worker."""
    driver: dict[str, float]
    """What Tune sets aside for a trial's driver. The workers' part is theirs to ask for, beside it."""
    logical_cpus: float
    """That a private Ray must offer for all this."""

    @property
    def gpus(self) -> float:
        """That a trial holds while it runs."""
        if self.placement is None:
            return self.driver.get("gpu", 0.0)
        return float(self.placement.workers) if self.placement.use_gpu else 0.0

    def describe(self) -> str:
        """One line."""
        if self.placement is None:
            gpu = ", 1 GPU" if self.driver.get("gpu") else ""
            of_each = f"trains in its driver (1 CPU{gpu}, {self.threads} threads)"
        else:
            given = self.placement
            gpu = " and 1 GPU" if given.use_gpu else ""
            of_each = (
                f"has a driver (0 CPU), {given.workers} workers of {given.cpus_per_worker:g} CPU{gpu} and "
                f"{self.threads} threads, and {DATA_CPUS:g} CPU for Ray Data"
            )
        return f"{self.trials_at_once} at once, each of which {of_each}"


def share_out(
    sweep: SweepConfig, base: RunConfig, resources: dict[str, float], *, private: bool
) -> TrialResources:
    """Divide a cluster among trials.

    Args:
        resources: `CPU` and `GPU` of the cluster; for a private Ray those of this machine.
        private: Ray is started for this sweep, and may count more CPUs than there are.

    Raises:
        ConfigError: the cluster cannot hold as many trials as are asked for, or not one.
    """
    cluster = base.cluster
    cpus, gpus, workers = resources.get("CPU", 0.0), resources.get("GPU", 0.0), max(1, cluster.workers)
    on_gpu = cluster.device == "cuda" or (cluster.device == "auto" and gpus >= workers)
    asked = cluster.cpus_per_worker if isinstance(cluster.cpus_per_worker, float) else 1.0
    # On a machine of one's own Ray Data needs no core: its reads fill gaps, as they do in a single run.
    data = 0.0 if private or not cluster.workers else DATA_CPUS
    fitting = math.floor(cpus / (workers * asked + data) + 1e-9)
    if on_gpu:
        fitting = math.floor(gpus / workers) if private else min(fitting, math.floor(gpus / workers))
    at_once = max(1, fitting) if sweep.trials_at_once == "auto" else sweep.trials_at_once
    grows = cluster.autoscaling and not private
    if cluster.device == "cuda" and gpus < at_once * workers and not grows:
        raise ConfigError(
            f"cluster.device=cuda asks for {workers} GPUs a trial, and {at_once} trials at once would take "
            f"{at_once * workers} of {gpus:g}; lower trials_at_once or cluster.workers"
        )
    wanted = cluster.threads_per_worker
    # Where nodes come when they are asked for, what there is now is no measure.
    share_of_cores = asked if grows else cpus / (at_once * workers)
    threads = max(1, math.floor(share_of_cores)) if wanted == "auto" else wanted
    if not cluster.workers:
        if not private and at_once > cpus and not grows:
            raise ConfigError(
                f"trials_at_once={at_once}, but the cluster has {cpus:g} CPUs; use at most {cpus:.0f}"
            )
        driver = {"cpu": 1.0, "gpu": 1.0} if on_gpu and (gpus >= at_once or grows) else {"cpu": 1.0}
        return TrialResources(at_once, None, threads, driver, float(at_once))
    offered = at_once * (workers * asked + DATA_CPUS) if private else cpus
    share = {"CPU": offered / at_once, "GPU": float(math.floor(gpus / at_once)) if on_gpu else 0.0}
    try:
        placement = place_workers(cluster, share)
    except ConfigError as error:
        raise ConfigError(
            f"trials_at_once={at_once} leaves each trial {share['CPU']:.3g} of {cpus:g} CPUs, and {error}"
        ) from None
    # Tune refuses a trial that takes nothing at all; a byte of memory is something.
    return TrialResources(at_once, placement, threads, {"cpu": 0, "memory": 1}, offered)
