"""How a run's workers share the CPUs and GPUs of a cluster with Ray Data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError

DATA_CPUS = 1.0
"""Logical CPUs kept free for Ray Data, without which training waits forever and nothing says so."""


@dataclass(frozen=True)
class Placement:
    """Resources of each worker."""

    workers: int
    cpus_per_worker: float
    use_gpu: bool

    @property
    def device(self) -> str:
        return "cuda" if self.use_gpu else "cpu"


def place_workers(config: ClusterConfig, resources: Mapping[str, float]) -> Placement:
    """Divide a cluster between workers and Ray Data.

    Args:
        config: How many workers, on which device, with how many CPUs.
        resources: The cluster's resources, as `ray.cluster_resources()` returns them.

    Raises:
        ConfigError: the cluster cannot hold the workers beside Ray Data.
    """
    cpus, gpus, workers = float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), config.workers
    if config.autoscaling:  # nodes are added for what is asked, so the resources of now do not matter
        cpus_per_worker = 1.0 if config.cpus_per_worker == "auto" else config.cpus_per_worker
        return Placement(workers, cpus_per_worker, config.device == "cuda")
    if config.device == "cuda" and gpus < workers:
        raise ConfigError(
            f"cluster.device=cuda asks for {workers} GPUs but the cluster has {gpus:g}; lower cluster.workers, "
            "add nodes, use cluster.device=auto, or say cluster.autoscaling=true if the cluster adds nodes by itself"
        )
    use_gpu = config.device == "cuda" or (config.device == "auto" and gpus >= workers)
    left = cpus - DATA_CPUS
    if config.cpus_per_worker == "auto":
        # Fractions are Ray's bookkeeping only: `cluster.threads_per_worker` sets a worker's threads.
        share = min(1.0, math.floor(100 * left / workers) / 100)
        if share < 0.01:
            raise ConfigError(
                f"the cluster has {cpus:g} CPUs, too few for cluster.workers={workers} and the data stream; "
                "add nodes or lower cluster.workers"
            )
        return Placement(workers, share, use_gpu)
    if config.cpus_per_worker * workers > left:
        raise ConfigError(
            f"cluster.workers={workers} x cluster.cpus_per_worker={config.cpus_per_worker:g} leaves the data "
            f"stream less than {DATA_CPUS:g} of the cluster's {cpus:g} CPUs; use cluster.cpus_per_worker="
            f"{max(left, 0) / workers:.2g} or auto"
        )
    return Placement(workers, config.cpus_per_worker, use_gpu)
