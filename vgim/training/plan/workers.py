"""Where a run's workers are placed, and in words."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vgim.cluster.gpu import GpuFacts
from vgim.cluster.placement import (
    DATA_CPUS,
    Placement,
    crowding,
    place_workers,
    room_for,
    usable_cores,
)
from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError
from vgim.text import plural

Resources = Mapping[str, float]
ADDS_NONE = (
    "cluster.autoscaling=true changes nothing here: without --address or RAY_ADDRESS the run has a private Ray on this "
    "machine, which adds no nodes"
)
"""A warning for a run that fits on this machine."""


def place_run(cluster: ClusterConfig, resources: Resources, *, private: bool) -> tuple[Placement, str | None]:
    """The resources of a run's workers, and a warning if they outnumber the cores or hope for nodes that nobody adds.

    Args:
        resources: the cluster's resources, as `ray.cluster_resources()` returns them.
        private: whether a private Ray on this machine runs the workers.

    Raises:
        ConfigError: the cluster cannot hold the workers.
    """
    if not private:
        placement = place_workers(cluster, resources)
        return placement, crowding(cluster, placement, resources.get("CPU", 0))
    here = cluster.model_copy(update={"autoscaling": False})
    try:
        placement = _on_this_machine(place_workers(here, resources))
    except ConfigError as error:
        if cluster.autoscaling:
            raise ConfigError(_without_a_cluster(cluster, resources)) from error
        raise
    warnings = [ADDS_NONE if cluster.autoscaling else None, crowding(here, placement, usable_cores())]
    return placement, "; ".join(filter(None, warnings)) or None


def _without_a_cluster(cluster: ClusterConfig, resources: Resources) -> str:
    has = _amount(resources.get("CPU", 0.0), resources.get("GPU", 0.0))
    return (
        f"cluster.autoscaling=true, but no cluster is named: a private Ray on this machine adds no nodes to its {has}, "
        f"too few for cluster.workers={cluster.workers} on cluster.device={cluster.device}; give --address or "
        "RAY_ADDRESS, or submit the run as a job (ray job submit)"
    )


def backend_of(cluster: ClusterConfig, placement: Placement) -> str:
    """Backend of torch.distributed.

    Raises:
        ConfigError: nccl is asked for, and the workers have no GPUs.
    """
    backend = cluster.backend if cluster.backend != "auto" else "nccl" if placement.use_gpu else "gloo"
    if backend == "nccl" and not placement.use_gpu:
        raise ConfigError("cluster.backend=nccl needs GPUs and the workers have none; use auto or gloo")
    return backend


def private_resources(cluster: ClusterConfig, facts: GpuFacts) -> Resources:
    """What Ray would count on this machine, if it were started for a run."""
    cpus = max(os.cpu_count() or 1, int(cluster.max_workers + DATA_CPUS))
    return {"CPU": float(cpus), "GPU": float(facts.num_visible)}


def describe_placement(
    cluster: ClusterConfig, placement: Placement, nodes: Sequence[Resources], free: Resources | None
) -> list[str]:
    """Lines on a run's workers, on what is left for Ray Data, and on the cluster.

    Args:
        nodes: resources of each node; one for a private Ray.
        free: resources that nobody uses now; None if they are not known.
    """
    each = f"{placement.cpus_per_worker:g} CPU" + (" and 1 GPU" if placement.use_gpu else "")
    number = (
        plural(placement.workers, "worker")
        if placement.min_workers is None
        else f"{placement.min_workers} to {placement.workers} workers"
    )
    where = "a private Ray on this machine" if placement.on_this_machine else "the cluster"
    backend = backend_of(cluster, placement)
    between = f", {backend} between them" if placement.workers > 1 else ""
    lines = [
        f"placement: {number} of {each} on {where}, device {placement.device}, {_threads(cluster, placement)}{between}"
    ]
    if not placement.on_this_machine:
        lines.append(_cluster(cluster, placement, nodes, free))
    lines.append(f"reading: {_reading(cluster, placement, nodes)}")
    return lines


def _threads(cluster: ClusterConfig, placement: Placement) -> str:
    asked = cluster.threads_per_worker
    if asked != "auto":
        return f"{plural(asked, 'torch thread')} each"
    if placement.threads is not None:
        return f"{plural(placement.threads, 'torch thread')} each"
    return (
        "all torch threads" if placement.is_alone else "a node's cores divided among its workers as threads"
    )


def _reading(cluster: ClusterConfig, placement: Placement, nodes: Sequence[Resources]) -> str:
    if placement.reads_in_workers:
        return "each worker reads its crops itself, without Ray Data"
    left = sum(node.get("CPU", 0) for node in nodes) - placement.workers * placement.cpus_per_worker
    if cluster.autoscaling and left < DATA_CPUS:
        return "Ray Data, on CPUs of the nodes that the cluster adds"
    return f"Ray Data, on the {left:g} CPUs that the workers leave"


def _cluster(
    cluster: ClusterConfig, placement: Placement, nodes: Sequence[Resources], free: Resources | None
) -> str:
    kinds = Counter((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes)
    shapes = ", ".join(f"{plural(count, 'node')} of {_amount(*kind)}" for kind, count in kinds.items())
    room = room_for(placement.cpus_per_worker, placement.use_gpu, nodes)
    line = f"cluster: {shapes}; room for {plural(room, 'worker')}"
    if room < placement.workers and cluster.autoscaling:
        line += f", so it is asked for more nodes and waited for at most {cluster.start_timeout_s:g} s"
    elif room < placement.workers and placement.min_workers is None:
        line += (
            f" on single nodes, too few: the run waits {cluster.start_timeout_s:g} s for more "
            "(cluster.start_timeout_s) and then fails"
        )
    if free is not None:
        line += f"; free now: {_amount(free.get('CPU', 0.0), free.get('GPU', 0.0))}"
    return line


def _amount(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPUs" + (f" and {gpus:g} GPUs" if gpus else "")


def _on_this_machine(placement: Placement) -> Placement:
    """The placement on a private Ray: as many torch threads in all as a training in this process would have."""
    placement = replace(placement, on_this_machine=True)
    if placement.is_alone:
        return placement  # the worker asks its own torch
    import torch

    # torch heeds OMP_NUM_THREADS and the cores that this process may use.
    return replace(placement, threads=max(1, torch.get_num_threads() // placement.workers))
