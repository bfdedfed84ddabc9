"""What the log says about a number of workers that changes while a run trains."""

from __future__ import annotations

from vgim.config.schema import TrainConfig
from vgim.runs.metrics_writer import Event
from vgim.text import plural
from vgim.training.share import Share


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
