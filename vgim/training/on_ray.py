"""The loop on Ray Train: one rank per worker. If a worker is lost, all restart from the last checkpoint."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from vgim.claims.ticket import ClaimLostError
from vgim.cluster.connect import ensure_ray, is_private
from vgim.cluster.environment import default_environment
from vgim.cluster.placement import DATA_CPUS, Placement, crowding, place_workers, usable_cores
from vgim.data.stream.readers import read_in_threads, read_on_ray
from vgim.errors import ConfigError, StorageError, TrainingError, VgimError
from vgim.model.rank_group import RankGroup
from vgim.progress import Progress
from vgim.runs.continuation import continuation
from vgim.runs.folder import Attempt, RunFolder
from vgim.runs.stop_request import ask_to_stop
from vgim.signals import Stopped, StopSignals, exit_code_of
from vgim.storage import Location
from vgim.text import first_line
from vgim.training.console import Console
from vgim.training.errors import CollapsedError, NotFiniteError, error_of
from vgim.training.job import AnyTrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.malloc import keep_freed_memory
from vgim.training.place import placement_of_ranks
from vgim.training.prometheus import Gauges
from vgim.training.ray_resize import resize_callback
from vgim.training.starting import starting_workers
from vgim.training.stopping import Grace, StopWatch, call_in_thread, end_within

RAY_SNAPSHOT = "checkpoint_manager_snapshot.json"
RAY_MARKER = ".validate_storage_marker"  # file by which Ray's workers check that they all see the storage
CONTROLLER_RETRIES = 3  # by default, Ray tries for ever to start workers that no node has room for
RESIZE_INTERVAL_S = 60.0
"""Seconds between two looks at whether the cluster has room for another number of workers."""
ELASTIC_START_S = 20
"""Seconds for which room for a number of workers is waited for before the nodes are counted again.

Ray may still count a node that has just died. Nodes that are there give room as soon as the workers before have ended.
"""
SILENCE_S, EXIT_S = 20.0, 10.0
"""Seconds for which Ray is waited for when the ranks have ended at a signal, and then at this process's end."""
POLL_SECONDS = 0.5
"""Seconds between two polls of the workers by Ray. Each checkpoint and the end of a run wait for one; Ray takes 2."""


def train_on_ray(
    job: AnyTrainJob,
    *,
    address: str | None,
    verbose: bool,
    placement: Placement | None = None,
    stop: StopSignals,
    grace: Grace,
    progress: Progress,
) -> str:
    """Train with Ray Train's workers.

    Args:
        address: Ray cluster; None uses $RAY_ADDRESS if it is set, else starts Ray on this machine.
        verbose: let Ray log.
        placement: resources of the workers; None divides the whole cluster among them.
        stop: signals of this process, to which the ranks react by themselves once training has begun.
        grace: watches over the time that they take.
        progress: where to report what is waited for, and how far the training is.

    Returns:
        A sentence on how the run ended.

    Raises:
        VgimError: an error that a worker raised, or workers were lost too often or could not be started.
    """
    cluster = job.config.cluster
    ensure_ray(min_cpus=cluster.max_workers + DATA_CPUS, address=address, verbose=verbose, progress=progress)
    with progress.stage("loading Ray Train"):
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig

        from vgim.training.ray_trainer import ray_trainer

    if placement is None:
        placement = place_workers(cluster, ray.cluster_resources())
        if is_private():
            # As many threads as a training in this process would have: torch heeds OMP_NUM_THREADS and the cores that
            # this process may use.
            threads = max(1, torch.get_num_threads() // placement.workers)
            placement = replace(placement, on_this_machine=True, threads=threads)
        cores = usable_cores() if placement.on_this_machine else ray.cluster_resources().get("CPU", 0)
        if warning := crowding(cluster, placement, cores):
            job = replace(job, notes=(*job.notes, warning))
    backend = cluster.backend if cluster.backend != "auto" else "nccl" if placement.use_gpu else "gloo"
    if backend == "nccl" and not placement.use_gpu:
        raise ConfigError("cluster.backend=nccl needs GPUs and the workers have none; use auto or gloo")
    elastic = placement.min_workers is not None
    start_timeout_s = min(cluster.start_timeout_s, ELASTIC_START_S) if elastic else cluster.start_timeout_s
    for_controller = {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": str(start_timeout_s),
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": str(POLL_SECONDS),
    }
    if not verbose:
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    run, storage = Location(job.run), job.config.storage
    # Checkpoints are listed from the folder; Ray's own list would refuse to start when one of them was pruned.
    run.child(RAY_SNAPSHOT).delete()
    callbacks = [_no_second_try()]
    if elastic:
        callbacks.append(
            resize_callback(run, placement, timeout_s=cluster.start_timeout_s, interval_s=RESIZE_INTERVAL_S)
        )
    trainer = ray_trainer(
        # Bound with `partial`: for a train_loop_config, Ray's controller would import all that the job needs.
        partial(_train_worker, job, placement),
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
    folder = RunFolder(run)
    try:
        with default_environment(for_controller), Console(run, progress, starting_workers(folder, placement)):
            if threading.current_thread() is threading.main_thread():
                stop.is_patient = job.config.cluster.stop_grace_s > 0
                after_signal = _AfterSignal(folder, stop)
                with grace:
                    call_in_thread(trainer.fit, after_signal.ray_is_silent, POLL_SECONDS)
            else:
                trainer.fit()
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        record = folder.record()
        if stop.signal and record is not None and record.state == "running":
            # Who stops a command often sends the signal to all its processes, Ray's among them.
            progress.message(f"no checkpoint was written: Ray ended before the workers ({first_line(error)})")
            raise Stopped(stop.signal) from error
        _explain(error, folder, cluster.max_failures)
        raise
    finally:
        with suppress(StorageError):  # it would hide the error that ended the run
            for leftover in (RAY_SNAPSHOT, RAY_MARKER):
                run.child(leftover).delete()
    record = folder.record()
    if record is not None and record.state == "failed":
        raise error_of(record)
    return record.message if record is not None else ""


class _AfterSignal:
    """Looks, after a signal, whether Ray says nothing although the ranks have written how they ended.

    A signal to all processes ends Ray's own at once, while the ranks write their checkpoint.
    """

    def __init__(self, folder: RunFolder, stop: StopSignals) -> None:
        self._folder, self._stop = folder, stop
        self._ended_at, self._exit_code = 0.0, 0

    def ray_is_silent(self) -> bool:
        """Whether the ranks ended `SILENCE_S` seconds ago; the process then ends without Ray."""
        if not self._stop.signal:
            return False
        with suppress(StorageError):
            record = self._folder.record()
            if record is not None and record.state in ("interrupted", "finished"):
                self._ended_at = self._ended_at or time.monotonic()
                self._exit_code = 0 if record.state == "finished" else exit_code_of(self._stop.signal)
        silent = self._ended_at > 0 and time.monotonic() - self._ended_at > SILENCE_S
        if silent:
            end_within(EXIT_S, self._exit_code)
        return silent


def ask_ranks_to_stop(folder: RunFolder, signal_number: int) -> bool:
    """Ask the ranks of a run to stop; returns False if none of them has begun to train.

    Raises:
        StorageError: the request cannot be written.
    """
    record = folder.record()
    if record is None or not record.attempts:
        return False
    ask_to_stop(folder.location, signal_number)
    return True


def _no_second_try() -> Any:
    """A Ray callback that ends the run at a VgimError, which new workers would only raise again."""
    from ray.train import UserCallback

    class NoSecondTry(UserCallback):  # type: ignore[misc]
        def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
            for error in worker_exceptions.values():
                if isinstance(error, VgimError):
                    raise error  # Ray does not retry an error of its controller

    return NoSecondTry()


def _train_worker(job: AnyTrainJob, placement: Placement) -> None:
    """Train on one rank; Ray runs this in every worker."""
    import ray.train
    import ray.train.torch
    import ray.util

    folder = RunFolder(Location(job.run))
    record = folder.record()
    if record is not None and record.state not in ("running", "finished"):
        return  # Ray started workers before it learned of the error that ends the run, or of a signal
    context = ray.train.get_context()
    threads = _threads(job, placement, context.get_local_world_size())
    torch.set_num_threads(threads)
    group = RankGroup.of_world()
    if not placement.use_gpu:
        keep_freed_memory()
    if group.saves:
        job.check_claim()  # the workers of a killed launch must not go on beside those of the next
    attempt = folder.begin_attempt(group.size) if group.saves else Attempt()
    job = replace(job, lost_workers=attempt.lost, world_size_before=attempt.world_size_before)
    reader = read_in_threads if placement.reads_in_workers else read_on_ray
    watch = StopWatch(job.stop_folders)
    worker = Worker(group, ray.train.torch.get_device(), reader, _report)
    node = "this machine" if placement.on_this_machine else ray.util.get_node_ip_address()
    worker = replace(worker, placement=placement_of_ranks(group, node, worker.device_name, threads))
    if group.saves:
        worker = replace(worker, on_record=Gauges(Location(job.run).name), stop_asked=watch.asked)
    try:
        with watch if group.saves else nullcontext():
            training = RankTrainer(job, worker)
            message = training.run()
    except (NotFiniteError, CollapsedError) as error:
        # All ranks raise it at the same step and return, so that Ray sees no lost worker.
        if group.saves:
            folder.fail(error)
        return
    except ClaimLostError:
        raise  # run.json is another process's now
    except VgimError as error:
        # On a full disk run.json cannot be written; the error itself still reaches the driver.
        with suppress(StorageError):
            folder.fail(error)
        raise
    if group.saves:
        job.check_claim()
        folder.set_state(training.state, message)


def _threads(job: AnyTrainJob, placement: Placement, workers_of_node: int) -> int:
    """torch threads of a worker."""
    asked = job.config.cluster.threads_per_worker
    if asked != "auto":
        return asked
    return placement.threads or max(1, (os.cpu_count() or 1) // workers_of_node)


def _report(metrics: dict[str, float], checkpoint: Location) -> None:
    """Report a checkpoint that is on storage already to Ray Train, and through it to Ray Tune."""
    import ray.train

    storage = ray.train.get_context().get_storage()
    path = f"{storage.experiment_fs_path}/{checkpoint.parent.name}/{checkpoint.name}"
    ray.train.report(
        metrics,
        checkpoint=ray.train.Checkpoint(path, filesystem=storage.storage_filesystem),
        checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
    )


def _explain(error: Exception, folder: RunFolder, max_failures: int) -> None:
    """Raise the VgimError behind an error of Ray; return if there is none, which is a defect of ours."""
    import ray

    failures = getattr(error, "worker_failures", {})
    for failure in (*failures.values(), getattr(error, "controller_failure", None)):
        for cause in _causes(failure):
            if isinstance(cause, ClaimLostError):
                raise cause from error  # run.json is another process's now
    record = folder.record()
    if record is not None and record.state == "failed":
        raise error_of(record) from error
    for rank, failure in sorted(failures.items()):
        for cause in _causes(failure):
            if isinstance(cause, VgimError):
                raise cause from error
            if isinstance(cause, ray.exceptions.RayActorError | ray.exceptions.NodeDiedError):
                reason = first_line(cause)
                raise TrainingError(
                    f"worker {rank} was lost ({reason}) and cluster.max_failures={max_failures} is used up; "
                    + continuation(folder.location)
                ) from error
    if isinstance(error, ray.exceptions.RayActorError):
        raise TrainingError(
            f"Ray's controller of the workers was lost ({first_line(error)}); {continuation(folder.location)}"
        ) from error
    controller = getattr(error, "controller_failure", None)
    if isinstance(controller, VgimError):
        raise controller from error
    if controller is not None:
        *_, innermost = _causes(controller)
        if innermost is not controller:  # a worker raised it before training began
            raise TrainingError(
                f"the workers could not begin ({type(innermost).__name__}: {first_line(innermost)}); check that every "
                "node has the same vgim and packages"
            ) from error
        raise TrainingError(
            f"the workers could not be started ({first_line(controller)}); check `ray status` for the resources that "
            "cluster.workers needs"
        ) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and the errors that it wraps, outermost first. Ray wraps a worker's exception in its own."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = getattr(error, "cause", None) or error.__cause__
