"""Where a run's weights come from: an ordered list, and the log says which it was."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import nn

from vgim.config import AnyConfig
from vgim.errors import CheckpointError
from vgim.runs.checkpoint import Checkpoint, check_same_architecture, complete_checkpoints, find_checkpoint
from vgim.runs.metrics_writer import Event
from vgim.runs.training_state import TrainingState
from vgim.runs.weights import load_optimizer, load_tensors
from vgim.storage import Location
from vgim.train.depth_resume import is_shallower, load_first_modules
from vgim.train.progress import Progress


def start_from(
    run: Location,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: AnyConfig,
    *,
    world_size: int,
    data_fingerprint: str,
    resume_from: str | None,
    init_from: str | None,
) -> tuple[Progress, list[Event]]:
    """Load the first that there is: the run's own last checkpoint, --resume-from, --init-from, fresh weights.

    Returns:
        Progress to start from, and events for the log: where the weights came from and what will differ.

    Raises:
        CheckpointError: the checkpoint is damaged, or of another architecture.
    """
    own = complete_checkpoints(run)
    if own:
        return _resume(own[-1], network, optimizer, config, world_size, data_fingerprint, "this run's")
    if resume_from:
        return _resume(
            find_checkpoint(resume_from), network, optimizer, config, world_size, data_fingerprint, "the"
        )
    if init_from:
        checkpoint = find_checkpoint(init_from)
        _load_weights(checkpoint, network, config)
        return Progress(), [
            Event(f"weights from {checkpoint.location.uri}; optimizer and steps start afresh")
        ]
    return Progress(), [Event(f"weights drawn afresh from seed {config.train.seed}")]


def _resume(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: AnyConfig,
    world_size: int,
    data_fingerprint: str,
    whose: str,
) -> tuple[Progress, list[Event]]:
    state = checkpoint.state
    log = [
        Event(
            f"continuing from {whose} checkpoint {checkpoint.location.uri} "
            f"(step {state.step}, epoch {state.epoch}, {state.step_in_epoch} steps into it)"
        )
    ]
    if is_shallower(checkpoint, config):
        log.append(load_first_modules(checkpoint, network, optimizer))
    else:
        _load_weights(checkpoint, network, config)
        load_optimizer(checkpoint, network, optimizer)
    step_in_epoch = state.step_in_epoch
    then = state.world_size * state.batch_size * state.accumulate
    here = world_size * config.train.batch_size * config.train.accumulate
    if then != here or state.world_size != world_size:
        step_in_epoch = state.step_in_epoch * then // here
        log.append(
            Event(
                f"the batch was {state.world_size} workers x {state.batch_size} x {state.accumulate} = {then} crops "
                f"and is now {here} over {world_size}: the weights will differ from those of an uninterrupted run, "
                f"and epoch {state.epoch} goes on at step {step_in_epoch}"
            )
        )
    if state.data_fingerprint != data_fingerprint:
        if whose == "this run's":
            raise CheckpointError(
                f"{checkpoint.location.uri} was trained on data {state.data_fingerprint[:12]}, these shards are "
                f"{data_fingerprint[:12]}; use --init-from to take the weights alone, under another storage.name"
            )
        step_in_epoch = 0
        log.append(
            Event(f"other data than before ({state.data_fingerprint[:12]}): epoch {state.epoch} starts over")
        )
    return replace(progress_of(state), step_in_epoch=step_in_epoch), log


def progress_of(state: TrainingState) -> Progress:
    """Where a checkpoint was written."""
    return Progress(**{field.name: getattr(state, field.name) for field in fields(Progress)})


def _load_weights(checkpoint: Checkpoint, network: nn.Module, config: AnyConfig) -> None:
    check_same_architecture(checkpoint, config.architecture, type(config))
    load_tensors(checkpoint, network)
