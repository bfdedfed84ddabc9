"""The Ray instance that a command works on, and how a run's workers share its CPUs and GPUs with Ray Data."""

from __future__ import annotations

import logging
import math
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError

SCRATCH = "working_dir_files"  # a part of the path of every working directory that Ray unpacks
CONNECT_TIMEOUT_S = 5.0
DATA_CPUS = 1.0  # kept free for Ray Data: without any, training waits for ever and nothing says so


def ensure_ray(
    min_cpus: float = 0, *, address: str | None = None, verbose: bool = False, dashboard: bool = False
) -> None:
    """Connect to the cluster at `address` (or $RAY_ADDRESS), else start a private instance on this machine.

    Args:
        min_cpus: logical CPUs that a private instance offers at least, whatever the machine has.
        address: `auto`, `host:port` or `ray://host:port`.
        verbose: let Ray log as it likes.
        dashboard: start a private instance's dashboard, and with it the State API.

    Raises:
        ConfigError: no cluster answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address != "local":
        # Read when Ray is imported; by default it tries for ten minutes, with a line for each try.
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "2")
    import ray

    if ray.is_initialized():
        return
    if address != "local":
        _check_reachable(address)
    quiet = {} if verbose else {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == "local":
            # Nobody takes this node away, so that no process of each training need watch for that.
            os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
            cores = os.cpu_count() or 1
            ray.init("local", num_cpus=max(cores, math.ceil(min_cpus)), include_dashboard=dashboard, **quiet)
        else:
            ray.init(address, **quiet)
    except ConnectionError as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"no Ray cluster lets us in at {address}: {first_line}; start one with `ray start --head`, check that "
            "RAY_AUTH_MODE and the token are the cluster's, or leave --address and RAY_ADDRESS out to use this "
            "machine alone"
        ) from error


def _check_reachable(address: str) -> None:
    """Tell at once that nothing listens at HOST:PORT.

    Raises:
        ConfigError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster answers at {address}: {error.strerror or error}; start one with `ray start --head`, or "
            "leave --address and RAY_ADDRESS out to use this machine alone"
        ) from error


def refuse_scratch(key: str, path: str) -> None:
    """Refuse to keep anything in the working directory that Ray unpacks for a job, and deletes.

    Raises:
        ConfigError: the place is in there.
    """
    here = Path.cwd()
    if SCRATCH in here.parts and Path(path).is_relative_to(here):
        raise ConfigError(
            f"{key}={Path(path).relative_to(here)} is relative, and a job's working directory is a copy that is "
            "thrown away; give an absolute path on storage that all nodes see, or a URI"
        )


@dataclass(frozen=True)
class Placement:
    """What each worker gets."""

    workers: int
    cpus_per_worker: float
    use_gpu: bool

    @property
    def device(self) -> str:
        return "cuda" if self.use_gpu else "cpu"


def place_workers(config: ClusterConfig, resources: dict[str, Any]) -> Placement:
    """Share a cluster's resources (as `ray.cluster_resources()` gives them) between workers and Ray Data.

    Raises:
        ConfigError: the cluster cannot hold the workers beside Ray Data.
    """
    cpus, gpus, workers = float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), config.workers
    if config.autoscaling:  # what is there now says nothing; nodes come for what is asked
        wanted = 1.0 if config.cpus_per_worker == "auto" else config.cpus_per_worker
        return Placement(workers, wanted, config.device == "cuda")
    if config.device == "cuda" and gpus < workers:
        raise ConfigError(
            f"cluster.device=cuda asks for {workers} GPUs but the cluster has {gpus:g}; lower cluster.workers, "
            "add nodes, use cluster.device=auto, or say cluster.autoscaling=true if the cluster adds nodes by itself"
        )
    use_gpu = config.device == "cuda" or (config.device == "auto" and gpus >= workers)
    left = cpus - DATA_CPUS
    if config.cpus_per_worker == "auto":
        # Fractions are bookkeeping only: the threads a worker computes with are set apart from them.
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
