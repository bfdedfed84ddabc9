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
from vgim.runs.metrics_writer import MetricsWriter
from vgim.runs.weights import load_optimizer
from vgim.storage import Location
from vgim.train.progress import schedule_of

INHERITED = "it has modules 0 to "
"""How the event begins by which a deeper run tells that it starts from a shallower one's end."""


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


def load_first_modules(checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Weights and optimizer state of the modules that there are; the others stay as they were drawn."""
    network.load_state_dict({**network.state_dict(), **checkpoint.weights()})
    load_optimizer(checkpoint, network, optimizer)


def shallower_run(run: Location, resume_from: str | None, config: AnyConfig) -> Location | None:
    """The shallower run that a run with no checkpoint of its own starts from, if that is what it does."""
    if resume_from is None or complete_checkpoints(run):
        return None
    checkpoint = find_checkpoint(resume_from)
    return checkpoint.location.parent.parent if is_shallower(checkpoint, config) else None


def inherited_steps(records: Iterable[MetricsRecord]) -> int:
    """Optimizer steps that a run's records tell of but a shallower run took."""
    return max(
        (r["step"] for r in records if r["kind"] == "event" and r["message"].startswith(INHERITED)), default=0
    )


def writer_with_history(run: Location, shallower: Location, step: int) -> MetricsWriter:
    """A writer for `run` that has told already what the shallower run told up to `step`."""
    for path in (run.child(METRICS), run.child(TENSORBOARD)):
        path.delete()  # of a launch that ended before its first checkpoint
    writer = MetricsWriter(run, 0)
    for record in read_metrics(shallower):
        if record["step"] <= step:
            writer.replay(record)
    return writer
