"""The loop in the process of the command itself, without Ray."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from vgim.data.stream.readers import read_in_process
from vgim.logs import JSON, log_as, log_fields, log_step
from vgim.model.rank_group import ALONE
from vgim.runs.folder import RunFolder
from vgim.signals import StopSignals
from vgim.storage import Location
from vgim.training.job import AnyTrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.malloc import keep_freed_memory
from vgim.training.place import place_of_this_process
from vgim.training.stopping import StopWatch
from vgim.training.torch_gpu import device_here


def train_in_process(job: AnyTrainJob, stop: StopSignals) -> str:
    """Train in this process.

    Returns:
        A sentence on how the run ended.

    Raises:
        VgimError: the error that ended the run, or torch can use no GPU where one is asked for.
    """
    cluster = job.config.cluster
    device, idle_gpu = device_here(cluster)
    if idle_gpu is not None:
        job = replace(job, notes=(*job.notes, idle_gpu))
    if cluster.threads_per_worker != "auto":
        torch.set_num_threads(cluster.threads_per_worker)
    if device == "cpu":
        keep_freed_memory()
    if job.log_format == JSON:
        log_as(JSON, log_fields() | {"rank": 0}, level=logging.WARNING)  # events reach the console
    with StopWatch(job.stop_folders, stop if cluster.stop_grace_s else None) as watch:
        worker = Worker(
            ALONE,
            torch.device(device),
            read_in_process,
            lambda metrics, checkpoint: None,
            on_step=log_step,
            stop_asked=watch.asked,
        )
        worker = replace(worker, placement=place_of_this_process(worker.device, worker.device_name))
        rank = RankTrainer(job, worker)
        message = rank.run()
        job.check_claim()
    RunFolder(Location(job.run)).set_state(rank.state, message)
    return message
