"""How a run's workers share the CPUs and GPUs of a cluster with Ray Data."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError

DATA_CPUS = 1.0
"""Logical CPUs kept free for Ray Data, so that reading has a core beside workers that train on CPUs.

Its tasks do not ask for it: where others hold all logical CPUs, reading goes on.
"""

ROUNDING = 1e-9
"""CPUs by which sums of fractions may differ: 1.2 less 1 is a little less than 0.2."""


@dataclass(frozen=True)
class Placement:
    """Resources of each worker."""

    workers: int
    """Number of workers; the largest number if it may change."""
    cpus_per_worker: float
    use_gpu: bool
    min_workers: int | None = None
    """Smallest number of workers; None if the number is fixed."""
    on_this_machine: bool = False
    """Whether a private Ray on this machine runs the workers."""
    waits_its_turn: bool = False
    """Whether workers wait without limit while others use the cluster."""
    threads: int | None = None
    """torch threads of each worker; None for an equal share of its node's cores, or for torch's own number if the
    worker is alone."""

    @property
    def reads_in_workers(self) -> bool:
        """Whether each worker reads its crops itself, not through Ray Data.

        Elastic workers may fill all CPUs of a cluster, where no CPU would be left for Ray Data. On one machine its
        processes would compete with the steps for the same cores.
        """
        return self.on_this_machine or self.min_workers is not None

    @property
    def is_alone(self) -> bool:
        """Whether one worker trains on a private Ray, which needs nothing of Ray Train."""
        return self.on_this_machine and self.workers == 1 and self.min_workers is None

    @property
    def resources(self) -> dict[str, float]:
        """Resources of all workers together, of the fewest if the number may change."""
        num = self.min_workers or self.workers
        gpus = {"GPU": float(num)} if self.use_gpu else {}
        return {"CPU": num * self.cpus_per_worker, **gpus}

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
    cpus, gpus, workers = float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), config.max_workers
    if config.is_elastic:
        return _place_elastic(config, cpus, gpus)
    if config.autoscaling:  # nodes are added for what is asked, so the resources of now do not matter
        cpus_per_worker = 1.0 if config.cpus_per_worker == "auto" else config.cpus_per_worker
        return Placement(workers, cpus_per_worker, config.device == "cuda")
    if config.device == "cuda" and gpus < workers:
        raise ConfigError(
            f"cluster.device=cuda asks for {workers} GPUs but the cluster has {gpus:g}; lower cluster.workers, "
            "add nodes, use cluster.device=auto, or say cluster.autoscaling=true if the cluster adds nodes by itself"
        )
    if config.device == "auto":
        refuse_idle_gpus(gpus, workers, f"cluster.workers={config.workers}", f"cluster.workers={int(gpus)}")
    use_gpu = config.device == "cuda" or (config.device == "auto" and gpus >= workers)
    left = cpus - DATA_CPUS
    # Fractions are Ray's bookkeeping only: `cluster.threads_per_worker` sets a worker's threads.
    share, asked = math.floor(100 * left / workers + ROUNDING) / 100, config.cpus_per_worker
    if asked != "auto" and asked * workers <= left + ROUNDING:
        return Placement(workers, asked, use_gpu)
    if share < 0.01:
        raise ConfigError(
            f"the cluster has {cpus:g} CPUs, too few for cluster.workers={workers} and the data stream; "
            "add nodes or lower cluster.workers"
        )
    if asked != "auto":
        raise ConfigError(
            f"cluster.workers={workers} x cluster.cpus_per_worker={asked:g} leaves the data "
            f"stream less than {DATA_CPUS:g} of the cluster's {cpus:g} CPUs; use cluster.cpus_per_worker="
            f"{share:g} or auto"
        )
    return Placement(workers, min(1.0, share), use_gpu)


def refuse_idle_gpus(gpus: float, workers: int, asked: str, instead: str) -> None:
    """Refuse `cluster.device=auto` where workers would train on CPUs beside GPUs, which takes many times longer.

    Args:
        gpus: GPUs of the cluster.
        workers: Workers that train at the same time, each of which would need a GPU.
        asked: The settings that ask for so many workers.
        instead: Settings with which GPUs are used.

    Raises:
        ConfigError: There are GPUs, but fewer than workers.
    """
    if 1 <= gpus < workers:
        raise ConfigError(
            f"{asked} needs {workers} GPUs and the cluster has {gpus:g}, which cluster.device=auto would leave unused; "
            f"use {instead}, or cluster.device=cpu to train on CPUs all the same"
        )


def crowding(config: ClusterConfig, placement: Placement, cores: float) -> str | None:
    """A warning if workers on CPUs outnumber the cores that they share; else None.

    Args:
        cores: Cores of this machine, or logical CPUs of the cluster.
    """
    fitting, workers = int(cores), placement.workers
    if placement.use_gpu or config.is_elastic or config.autoscaling or not 0 < fitting < workers:
        return None
    same_batch = f" (train.accumulate times {workers // fitting} has the same batch)" * (
        workers % fitting == 0
    )
    return (
        f"cluster.workers={workers} is more than the {fitting} cores, on which workers take turns; "
        f"cluster.workers={fitting} gives each worker a core{same_batch}"
    )


def _place_elastic(config: ClusterConfig, cpus: float, gpus: float) -> Placement:
    """Placement of a number of workers that follows the cluster.

    Each worker gets whole CPUs, since Ray counts how many workers fit on a node. No CPU is kept free for Ray Data:
    nodes come and go, and workers may fill all that are left, so that elastic workers read their crops themselves.
    """
    fewest = config.min_workers
    cpus_per_worker = 1.0 if config.cpus_per_worker == "auto" else config.cpus_per_worker
    if config.device == "auto":
        several = f"cluster.workers={int(gpus)}..{config.max_workers}"
        refuse_idle_gpus(gpus, fewest, f"cluster.workers={config.workers}", several)
    use_gpu = config.device == "cuda" or (config.device == "auto" and gpus >= fewest)
    if not config.autoscaling:
        room = room_for(cpus_per_worker, use_gpu, [{"CPU": cpus, "GPU": gpus}])
        if room < fewest:
            has = f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if use_gpu else "")
            raise ConfigError(
                f"cluster.workers={config.workers} needs at least {fewest} workers, but the cluster's {has} have room "
                f"for {room}; add nodes, lower the first number, or say cluster.autoscaling=true if the cluster adds "
                "nodes by itself"
            )
    return Placement(config.max_workers, cpus_per_worker, use_gpu, fewest)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def room_for(cpus_per_worker: float, use_gpu: bool, nodes: Iterable[Mapping[str, float]]) -> int:
    """How many workers fit on nodes with these resources; a worker with a GPU has one."""
    each = [
        min(
            math.floor(node.get("CPU", 0) / cpus_per_worker),
            math.floor(node.get("GPU", 0)) if use_gpu else sys.maxsize,
        )
        for node in nodes
    ]
    return sum(each)
