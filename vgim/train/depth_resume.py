"""A deeper run that starts where a shallower one ended, under schedule sequential.

Module m is trained before the modules behind it are, and its draws depend on (seed, module, step): a run of depth d
is the first d phases of a deeper one. So the deeper run takes its weights, its place and its records, and trains on.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from vgim.config import AnyConfig, RunConfig
from vgim.runs.checkpoint import Checkpoint, check_same_architecture, complete_checkpoints, find_checkpoint
from vgim.runs.layout import METRICS, TENSORBOARD
from vgim.runs.metrics import MetricsRecord, read_metrics
from vgim.runs.metrics_writer import Event, MetricsWriter
from vgim.runs.weights import load_optimizer
from vgim.storage import Location
from vgim.train.progress import schedule_of

_INHERITED_IN_0_1 = "it has modules 0 to "  # how the event of a deeper run begins that vgim 0.1 wrote


def is_shallower(checkpoint: Checkpoint, config: AnyConfig) -> bool:
    """Whether a checkpoint is of the first modules of this run, and all of them are trained one after the other."""
    if not isinstance(config, RunConfig):
        return False
    theirs, ours = checkpoint.config(), config.model
    return (
        schedule_of(config).continues_shallower_runs
        and theirs.train.schedule == config.train.schedule
        and theirs.model.num_modules < ours.num_modules
        and theirs.model.model_copy(update={"depth": ours.depth}) == ours
    )


def check_resumable(checkpoint: Checkpoint, config: AnyConfig) -> None:
    """Refuse to go on from a checkpoint of another architecture, unless it is of this run's first modules.

    Raises:
        CheckpointError: each differing key is named.
    """
    if not is_shallower(checkpoint, config):
        check_same_architecture(checkpoint, config.architecture, type(config))


def load_first_modules(checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer) -> Event:
    """Load weights and optimizer state of the checkpoint's modules; the modules behind them stay as drawn.

    Returns:
        The event that says so.
    """
    network.load_state_dict({**network.state_dict(), **checkpoint.weights()})
    load_optimizer(checkpoint, network, optimizer)
    last = checkpoint.config().model.num_modules - 1
    return Event(f"it has modules 0 to {last}; those behind are drawn afresh", checkpoint.state.step)


def shallower_run(run: Location, resume_from: str | None, config: AnyConfig) -> Location | None:
    """The shallower run that a run with no checkpoint of its own starts from, if that is what it does."""
    if resume_from is None or complete_checkpoints(run):
        return None
    checkpoint = find_checkpoint(resume_from)
    return checkpoint.location.parent.parent if is_shallower(checkpoint, config) else None


def inherited_steps(records: Iterable[MetricsRecord]) -> int:
    """Optimizer steps in a run's records that a shallower run took; 0 for a run that started afresh."""
    return max((_inherited_steps(record) for record in records if record["kind"] == "event"), default=0)


def _inherited_steps(event: MetricsRecord) -> int:
    if "inherited_steps" in event:
        return int(event["inherited_steps"])
    return int(event["step"]) if event["message"].startswith(_INHERITED_IN_0_1) else 0


def writer_with_history(run: Location, shallower: Location, step: int) -> MetricsWriter:
    """A writer for `run` that has told already what the shallower run told up to `step`."""
    for path in (run.child(METRICS), run.child(TENSORBOARD)):
        path.delete()  # of a launch that ended before its first checkpoint
    writer = MetricsWriter(run, 0)
    for record in read_metrics(shallower):
        if record["step"] <= step:
            writer.replay(record)
    return writer
