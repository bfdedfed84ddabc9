"""What a run's workers wait for before they train."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from vgim.cluster.connect import free_resources
from vgim.cluster.placement import Placement
from vgim.errors import StorageError
from vgim.runs.folder import RunFolder
from vgim.text import plural
from vgim.training.console import Starting

CONTROLLER = "Ray starts the process that controls them"
IMPORTING = "each imports torch and joins the others"
ALONE = "Ray starts its process, which imports torch"


def starting_worker(folder: RunFolder) -> Starting:
    """The start of the one worker of a private Ray, which has ended when it has begun an attempt.

    Args:
        folder: The run's folder.
    """
    return Starting("starting 1 worker", lambda: None if _has_begun(folder) else ALONE)


def starting_workers(folder: RunFolder, placement: Placement) -> Starting:
    """The start of a run's workers on Ray, which has ended when one of them has begun an attempt.

    Args:
        folder: The run's folder.
        placement: Resources of the workers.
    """

    def waits_for() -> str | None:
        if _has_begun(folder):
            return None
        states = group_states()
        if "PENDING" in states:
            return needed_resources(placement, free_resources())
        return IMPORTING if "CREATED" in states else CONTROLLER

    return Starting(f"starting {plural(placement.min_workers or placement.workers, 'worker')}", waits_for)


def _has_begun(folder: RunFolder) -> bool:
    with suppress(StorageError):  # the next look may succeed
        record = folder.record()
        return record is not None and record.attempts > 0
    return False


def needed_resources(placement: Placement, free: Mapping[str, float]) -> str:
    """What the workers need beside what the cluster has: `waiting for 2 x 1 CPU; the cluster has 1 CPU free`."""
    num = placement.min_workers or placement.workers
    gpu = " and 1 GPU" if placement.use_gpu else ""
    free_gpus = f" and {free.get('GPU', 0):g} GPU" if placement.use_gpu else ""
    return (
        f"waiting for {num} x {placement.cpus_per_worker:g} CPU{gpu}; the cluster has {free.get('CPU', 0):g} CPU"
        f"{free_gpus} free"
    )


def group_states() -> set[str]:
    """States of this process's groups of workers, for which Ray keeps or waits for room."""
    import ray
    from ray.util.placement_group import placement_group_table

    try:
        if not ray.is_initialized():  # asking would start a Ray
            return set()
        # A group's id ends with the id of its job; other jobs of the cluster have groups too.
        own = ray.get_runtime_context().get_job_id()
        return {group["state"] for name, group in placement_group_table().items() if name.endswith(own)}
    except Exception:  # a cluster that is just ending; the training says so itself
        return set()
