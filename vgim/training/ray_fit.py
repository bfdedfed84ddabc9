"""The workers of a run on Ray Train, which restarts all of them if one is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from vgim.cluster.environment import default_environment
from vgim.cluster.placement import Placement
from vgim.errors import VgimError
from vgim.storage import Location
from vgim.training.job import AnyTrainJob
from vgim.training.ray_resize import resize_callback
from vgim.training.ray_restarts import restart_callback
from vgim.training.ray_waiting import waiting_callback

RAY_SNAPSHOT = "checkpoint_manager_snapshot.json"
RAY_MARKER = ".validate_storage_marker"  # file by which Ray's workers check that they all see the storage
CONTROLLER_RETRIES = 3  # by default, Ray tries for ever to start workers that no node has room for
RESIZE_INTERVAL_S = 60.0
"""Seconds between two looks at whether the cluster has room for another number of workers."""
ELASTIC_START_S = 20
"""Seconds for which room for a number of workers is waited for before the nodes are counted again.

Ray may still count a node that has just died. Nodes that are there give room as soon as the workers before have ended.
"""
NO_LIMIT_S = 10**8
"""Three years."""
POLL_SECONDS = 0.5
"""Seconds between two polls of the workers by Ray. Each checkpoint and the end of a run wait for one; Ray takes 2."""


def ray_train_fit(
    train_worker: Callable[[], None], job: AnyTrainJob, placement: Placement, *, backend: str, verbose: bool
) -> Callable[[], object]:
    """Import Ray Train and describe a run's workers to it.

    Args:
        train_worker: Called in each worker, without arguments.
        placement: Resources of the workers.
        backend: Of torch.distributed: nccl or gloo.
        verbose: Let Ray log.

    Returns:
        A function that starts the workers and waits until they end. It raises Ray's errors.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig

    from vgim.training.ray_trainer import ray_trainer

    cluster, storage = job.config.cluster, job.config.storage
    elastic = placement.min_workers is not None
    start_timeout_s = cluster.start_timeout_s
    if placement.waits_its_turn:
        start_timeout_s = NO_LIMIT_S
    elif elastic:
        start_timeout_s = min(start_timeout_s, ELASTIC_START_S)
    for_controller = {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(start_timeout_s),
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_SECONDS),
    }
    if not verbose:
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    run = Location(job.run)
    # Checkpoints are listed from the folder; Ray's own list would refuse to start when one of them was pruned.
    run.child(RAY_SNAPSHOT).delete()
    callbacks = [_no_second_try()]
    if not placement.on_this_machine:
        callbacks += [restart_callback(run), waiting_callback(run)]
    if elastic:
        callbacks.append(
            resize_callback(run, placement, timeout_s=cluster.start_timeout_s, interval_s=RESIZE_INTERVAL_S)
        )
    trainer = ray_trainer(
        train_worker,
        scaling_config=ScalingConfig(
            num_workers=(placement.min_workers, placement.workers) if elastic else placement.workers,
            elastic_resize_monitor_interval_s=RESIZE_INTERVAL_S,
            use_gpu=placement.use_gpu,
            resources_per_worker={
                "CPU": placement.cpus_per_worker,
                **({"GPU": 1} if placement.use_gpu else {}),
            },
        ),
        run_config=RunConfig(
            name=storage.name,
            storage_path=storage.root,
            failure_config=FailureConfig(
                max_failures=cluster.max_failures,
                # Of elastic workers `resize_callback` limits the time without any, instead of the tries.
                controller_failure_limit=-1 if elastic else CONTROLLER_RETRIES,
            ),
            callbacks=callbacks,
        ),
        alone=placement.workers == 1 and not elastic,
        private=placement.on_this_machine and not elastic,
        backend=backend,
    )

    def fit() -> None:
        with default_environment(for_controller):
            trainer.fit()

    return fit


def _no_second_try() -> Any:
    """A Ray callback that ends the run at a VgimError, which new workers would only raise again."""
    from ray.train import UserCallback

    class NoSecondTry(UserCallback):  # type: ignore[misc]
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            for error in worker_exceptions.values():
                if isinstance(error, VgimError):
                    raise error  # Ray does not retry an error of its controller

    return NoSecondTry()
