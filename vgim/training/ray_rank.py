"""One rank of a training on Ray, in a process that Ray started."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace

import torch

from vgim.claims.ticket import ClaimLostError
from vgim.cluster.placement import Placement
from vgim.data.stream.readers import read_in_threads, read_on_ray
from vgim.errors import StorageError, VgimError
from vgim.logs import log_as, log_step, set_log_fields
from vgim.model.rank_group import RankGroup
from vgim.runs.folder import Attempt, RunFolder
from vgim.storage import Location
from vgim.text import plural
from vgim.training.errors import CollapsedError, NotFiniteError
from vgim.training.job import AnyTrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.malloc import keep_freed_memory
from vgim.training.place import placement_of_ranks
from vgim.training.prometheus import Gauges
from vgim.training.ray_restarts import PreemptionNotice
from vgim.training.stopping import StopWatch
from vgim.training.torch_gpu import require_gpu

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Process:
    """What Ray gives to the process of a rank."""

    device: torch.device
    threads: int
    """torch threads, if the config sets none."""
    report: Callable[[dict[str, float], Location], None]
    """Tells Ray of a checkpoint."""
    notice: Callable[[], str] = lambda: ""
    """Why a checkpoint must be written now; empty if it need not be."""


def train_rank(job: AnyTrainJob, placement: Placement) -> None:
    """Train on the rank of this process.

    Raises:
        VgimError: the error that ended the training. Errors that all ranks raise are recorded in `run.json` instead.
    """
    import ray.util

    folder = RunFolder(Location(job.run))
    record = folder.record()
    if record is not None and record.state not in ("running", "finished"):
        return  # Ray started workers before it learned of the error that ends the run, or of a signal
    node = "this machine" if placement.on_this_machine else ray.util.get_node_ip_address()
    if placement.use_gpu:
        require_gpu(node)
    process = _alone(placement) if placement.is_alone else _worker_of_ray_train(placement)
    group = RankGroup.of_world()
    threads = _set_up(job, process, group, node)
    if group.saves:
        job.check_claim()  # the workers of a killed launch must not go on beside those of the next
    attempt = folder.begin_attempt(group.size) if group.saves else Attempt()
    job = replace(
        job, lost_workers=attempt.lost, loss=attempt.loss, world_size_before=attempt.world_size_before
    )
    reader = read_in_threads if placement.reads_in_workers else read_on_ray
    watch = StopWatch(job.stop_folders)
    worker = Worker(group, process.device, reader, process.report, on_step=log_step)
    worker = replace(worker, placement=placement_of_ranks(group, node, worker.device_name, threads))
    say_end = _say_nothing
    if group.saves:
        gauges = Gauges(folder.location.name)
        gauges.keep()
        say_end = gauges.ended
        worker = replace(worker, on_record=gauges, stop_asked=watch.asked, notice=process.notice)
    try:
        with watch if group.saves else nullcontext():
            training = RankTrainer(job, worker)
            if training.stages is not None:
                set_log_fields(stage=training.stages.mesh.number)
            message = training.run()
    except (NotFiniteError, CollapsedError) as error:
        # All ranks that train the module raise it at the same step. If these are all ranks of the run, they return, so
        # that Ray sees no lost worker. Other stages would wait for them for ever.
        if training.share.group.rank == 0:
            with suppress(StorageError):
                folder.fail(error)
        say_end("failed", error)
        if training.share.group.size < group.size:
            raise
        return
    except ClaimLostError:
        raise  # run.json is another process's now
    except VgimError as error:
        # On a full disk run.json cannot be written; the error itself still reaches the driver.
        with suppress(StorageError):
            folder.fail(error)
        say_end("failed", error)
        raise
    if group.saves:
        job.check_claim()
        folder.set_state(training.state, message)
        say_end(training.state)


def _set_up(job: AnyTrainJob, process: _Process, group: RankGroup, node: str) -> int:
    """Set this process's torch threads, memory allocator and log; returns the threads."""
    asked = job.config.cluster.threads_per_worker
    threads = asked if asked != "auto" else process.threads
    torch.set_num_threads(threads)
    if process.device.type == "cpu":
        keep_freed_memory()
    log_as(job.log_format, {"run": Location(job.run).name, "rank": group.rank})
    _logger.info(
        "rank %d of %d on %s, device %s, %s",
        group.rank,
        group.size,
        node,
        process.device,
        plural(threads, "thread"),
    )
    return threads


def _say_nothing(state: str, error: Exception | None = None) -> None:
    """What a rank without gauges says of the end of its run."""


def _alone(placement: Placement) -> _Process:
    """The process of the one worker of a private Ray, without Ray Train."""
    device = torch.device("cuda", 0) if placement.use_gpu else torch.device("cpu")
    return _Process(device, torch.get_num_threads(), lambda metrics, checkpoint: None)


def _worker_of_ray_train(placement: Placement) -> _Process:
    import ray.train
    import ray.train.torch

    workers_of_node = ray.train.get_context().get_local_world_size()
    threads = placement.threads or max(1, (os.cpu_count() or 1) // workers_of_node)
    return _Process(ray.train.torch.get_device(), threads, _report, PreemptionNotice())


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
