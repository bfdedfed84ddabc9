"""What the log says where ranks start to train: where they run, how many they are, and what each does."""

from __future__ import annotations

from vgim.config.schema import TrainConfig
from vgim.runs.metrics_writer import Event
from vgim.text import plural
from vgim.training.job import AnyTrainJob
from vgim.training.learner import Worker
from vgim.training.share import Share
from vgim.training.stages.rank import StageRank

NO_VALIDATION = (
    "the shards have no validation split: there are no validation losses, train.keep_best keeps no checkpoint, and the "
    "best checkpoint is the newest"
)


def launch_events(job: AnyTrainJob, worker: Worker, share: Share, stages: StageRank | None) -> list[Event]:
    """The events of ranks that start to train."""
    log = list[Event]()
    if job.lost_workers:
        which = f": {job.loss}" * bool(job.loss)
        log.append(Event(f"workers were lost and started again ({job.lost_workers} so far){which}"))
    else:
        log += map(Event, job.notes)
    if job.config.cluster.is_elastic and (
        event := workers_event(share, job.config.train, job.world_size_before)
    ):
        log.append(event)
    if worker.placement:
        log.append(Event(worker.placement))
    if stages is not None:
        log.append(Event(stages.mesh.describe()))
    return log


def workers_event(share: Share, train: TrainConfig, size_before: int) -> Event | None:
    """The event of ranks that start to train, with their micro-batches; None if as many trained before.

    Args:
        size_before: ranks that trained last; 0 if none did.
    """
    size, crops = share.group.size, share.num_virtual * train.accumulate * train.batch_size
    if size == size_before:
        return None
    fewest, rest = divmod(share.num_virtual, size)
    counts = [fewest * train.accumulate, *([(fewest + 1) * train.accumulate] if rest else [])]
    of_each = " or ".join(map(str, counts)) + (" micro-batch" if counts == [1] else " micro-batches")
    workers = f"from {size_before} to {plural(size, 'worker')}" if size_before else plural(size, "worker")
    return Event(
        f"{workers} of at most {share.num_virtual}: each computes {of_each} of {train.batch_size} crops a step, "
        f"together {crops} crops",
        workers=size,
        workers_before=size_before or None,
    )
