"""A deeper run that starts where a shallower one ended, under a schedule that allows it (`sequential`).

Module m is trained before the modules behind it, and its draws depend on (seed, module, step). A run of depth d is
therefore the first d phases of a deeper one. The deeper run loads its weights and progress, copies its records, and
trains the modules that are left.
"""

from __future__ import annotations

import torch
from torch import nn

from vgim.config import AnyConfig
from vgim.model.rank_group import ALONE, RankGroup
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints, find_checkpoint
from vgim.runs.layout import METRICS, TENSORBOARD
from vgim.runs.metrics import read_metrics
from vgim.runs.metrics_writer import Event, MetricsWriter
from vgim.runs.weights import load_optimizer, load_tensors
from vgim.storage import Location
from vgim.training.resumable import holds_first_modules


def load_first_modules(
    checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer, group: RankGroup = ALONE
) -> Event:
    """Load weights and optimizer state of the checkpoint's modules; the modules behind them stay as drawn.

    Args:
        group: the ranks that continue from the checkpoint.

    Returns:
        The event that says so.

    Raises:
        CheckpointError: A module of the checkpoint has other tensors than this run's.
    """
    load_tensors(checkpoint, network, partly=True)
    load_optimizer(checkpoint, network, optimizer, group)
    last = checkpoint.config().model.num_modules - 1
    return Event(
        f"it holds modules 0 to {last}; the modules behind them are drawn afresh", checkpoint.state.step
    )


def shallower_run(run: Location, resume_from: str | None, config: AnyConfig) -> Location | None:
    """The shallower run that a run starts from; None if it starts from anything else, such as its own checkpoint."""
    if resume_from is None or complete_checkpoints(run):
        return None
    checkpoint = find_checkpoint(resume_from)
    return checkpoint.location.parent.parent if holds_first_modules(checkpoint, config) else None


def writer_with_history(run: Location, shallower: Location, step: int) -> MetricsWriter:
    """A writer for `run` that starts with the records of the shallower run up to `step`."""
    for path in (run.child(METRICS), run.child(TENSORBOARD)):
        path.delete()  # an earlier launch may have ended before its first checkpoint
    writer = MetricsWriter(run, 0)
    for record in read_metrics(shallower):
        if record["step"] <= step:
            writer.replay(record)
    return writer
