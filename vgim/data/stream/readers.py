"""Run read tasks in order, in this process, in its threads or with Ray Data. All give the same crops.

A task reads row groups *and* cuts its crops, so that only int16 crops cross Ray's object store. It runs on the rank's
own node, so that the crops are mapped into memory, not sent over the network.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vgim.data.pcm import Pcm16
from vgim.data.stream.ahead import in_order
from vgim.data.stream.order import ReadTask
from vgim.errors import VgimError
from vgim.logs import log_as, log_fields, log_form

READS_AT_ONCE = 2  # per rank; one read gives thousands of crops a second, two hide the latency of storage

CutCrops = Callable[[ReadTask], Pcm16]
"""Reads one task's row groups and cuts its crops, [num_crops, crop_samples]."""
Reader = Callable[[CutCrops, list[ReadTask]], Iterator[Pcm16]]
"""Runs tasks and yields their crops in order, in blocks [num_crops, crop_samples] of any number."""


def read_in_process(cut: CutCrops, tasks: list[ReadTask]) -> Iterator[Pcm16]:
    """Read in this process: for one worker without Ray, for notebooks and for tests."""
    return (cut(task) for task in tasks)


def read_in_threads(cut: CutCrops, tasks: list[ReadTask]) -> Iterator[Pcm16]:
    """Read in threads of this process, in order, at most `READS_AT_ONCE` tasks ahead: for workers that may fill their
    cluster, where no CPU would be left for a Ray task."""
    return in_order(cut, tasks, READS_AT_ONCE)


def read_on_ray(cut: CutCrops, tasks: list[ReadTask]) -> Iterator[Pcm16]:
    """Read with Ray Data: one Ray task per read task, in order, at most `READS_AT_ONCE` of them ahead."""
    import ray

    _configure_ray_data()
    form, fields = log_form(), log_fields()

    def read(batch: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if form is not None:
            log_as(form, fields)
        try:
            return {"audio": cut(pickle.loads(batch["task"][0]))}  # trusted: pickled a few lines below
        except VgimError as error:  # returned as data: Ray wraps a raised error until only its text is left
            return {"error": np.array([pickle.dumps(error)], dtype=object)}

    node = ray.get_runtime_context().get_node_id()
    items = [{"task": pickle.dumps(task)} for task in tasks]
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        read,
        batch_size=None,
        zero_copy_batch=True,
        # Workers of this run and of others may hold all logical CPUs of the node, or of the cluster. A task that asked
        # for one would wait for workers that wait for its crops, for ever and without a word.
        num_cpus=0,
        concurrency=READS_AT_ONCE,
        label_selector={"ray.io/node-id": node},
        # A node that is about to be taken away starts no task; its workers still train until then.
        fallback_strategy=[{"label_selector": {"ray.io/node-id": f"!{node}"}}],
    )
    for block in dataset.iter_batches(batch_size=None, prefetch_batches=1):
        if "error" in block:
            raise pickle.loads(block["error"][0])
        yield block["audio"]


def _configure_ray_data() -> None:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.use_datasource_v2 = False  # it takes seconds longer to the first block
    context.execution_options.preserve_order = True  # blocks come in the order of the tasks
    logging.getLogger("ray.data").setLevel(logging.ERROR)
