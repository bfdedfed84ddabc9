"""Where a run starts: an ordered list of sources for weights and progress, of which the first present is used."""

from __future__ import annotations

import torch
from torch import nn

from vgim.config import AnyConfig, RunConfig
from vgim.errors import CheckpointError, TrainingError, VgimError
from vgim.model.rank_group import ALONE, RankGroup
from vgim.runs.architecture import check_same_architecture
from vgim.runs.checkpoint import (
    Checkpoint,
    checkpoint_location,
    find_checkpoint,
)
from vgim.runs.metrics_writer import Event
from vgim.runs.recovery import find_recovery
from vgim.runs.weights import load_optimizer, load_tensors
from vgim.storage import Location
from vgim.text import numbered
from vgim.training.attachment import load_source
from vgim.training.depth_resume import load_first_modules
from vgim.training.progress import Progress, progress_behind
from vgim.training.resumable import holds_first_modules, other_settings, start_behind

_FAILED = -1
"""What the saving rank sends instead of a step if it found no checkpoint to continue from."""


def initialize(
    run: Location,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: AnyConfig,
    *,
    world_size: int,
    data_fingerprint: str,
    resume_from: str | None,
    init_from: str | None,
    group: RankGroup = ALONE,
    buffers_of: RankGroup | None = None,
) -> tuple[Progress, list[Event]]:
    """Load the first that is present: the run's newest whole checkpoint, `attach.run`, `resume_from`, `init_from`.

    The rank that saves sets damaged checkpoints of the run aside. All ranks must call it alike.

    Args:
        network: its weights are loaded, or stay as they were drawn.
        optimizer: its state is loaded, except from `init_from`.
        world_size: ranks of the run.
        data_fingerprint: fingerprint of the shards.
        resume_from: checkpoint or run to continue from.
        init_from: checkpoint or run to load only the weights from.
        group: the ranks that call it.
        buffers_of: the ranks that train together what this rank trains, if they are not all ranks.

    Returns:
        Progress to start from, and events that say which checkpoints are damaged, where the weights came from and what
        will differ.

    Raises:
        CheckpointError: all checkpoints of the run are damaged, or the checkpoint is of another architecture or other
            data.
    """
    buffers_of = buffers_of or group
    own, damaged = _own_checkpoint(run, group, next(network.parameters()).device)
    if own is not None:
        log = _resume(own, network, optimizer, config, world_size, data_fingerprint, "this run's", buffers_of)
        progress = progress_behind(own.state, config, world_size)
        if isinstance(config, RunConfig) and progress.source_step is not None:
            lower = numbered("module", range(config.model.num_modules - 1))
            log.append(Event(f"{lower} are those of step {progress.source_step} of {config.attach.run}"))
        return progress, [*damaged, *log]
    if isinstance(config, RunConfig) and config.attach.run:
        progress, log = load_source(config, network, group)
        return progress, [*damaged, *log]
    if resume_from:
        checkpoint = _source_checkpoint(resume_from, network, group)
        log = _resume(checkpoint, network, optimizer, config, world_size, data_fingerprint, "the", buffers_of)
        progress = start_behind(checkpoint, config, world_size, data_fingerprint)
        if differing := other_settings(checkpoint, config):
            log.append(Event(f"other settings than that run had: {'; '.join(differing)}"))
        return progress, log
    if init_from:
        checkpoint = _source_checkpoint(init_from, network, group)
        _load_weights(checkpoint, network, config)
        event = Event(f"weights from {checkpoint.location.uri}; optimizer and steps start afresh")
        return Progress(), [event, *_other_input(checkpoint, config)]
    return Progress(), [Event(f"weights drawn afresh from seed {config.train.seed}")]


def _own_checkpoint(
    run: Location, group: RankGroup, device: torch.device
) -> tuple[Checkpoint | None, list[Event]]:
    """The run's newest whole checkpoint, the same on all ranks, and on the rank that saves what is damaged.

    The rank that saves decides and renames before the others open anything.
    """
    found, log, failure = None, list[Event](), None
    if group.saves:
        try:
            recovery = find_recovery(run)
            log, found = [Event(f"warning: {s}") for s in recovery.set_aside()], recovery.checkpoint
        except VgimError as error:  # the other ranks wait for an answer
            failure = error
    step = _FAILED if failure else 0 if found is None else found.state.step + 1
    answer = torch.tensor([step if group.saves else 0], dtype=torch.int64, device=device)
    group.all_reduce_sum(answer)
    step = int(answer)
    if failure is not None:
        raise failure
    if step == _FAILED:
        find_recovery(run)  # raises the same error from the same storage
        raise TrainingError(
            f"rank 0 cannot read the checkpoints of {run.uri}, and this rank can; see its error"
        )
    if found is None and step:
        found = Checkpoint.open(checkpoint_location(run, step - 1))
    return found, log


def _source_checkpoint(source: str, network: nn.Module, group: RankGroup) -> Checkpoint:
    """The checkpoint of a source that the saving rank has found, the same on all ranks.

    A source that trains may write a newer one between the looks of two ranks.
    """
    found = find_checkpoint(source)
    step = found.state.step
    agreed = torch.tensor([step if group.saves else 0], device=next(network.parameters()).device)
    group.all_reduce_sum(agreed)
    if int(agreed) == step:
        return found
    return Checkpoint.open(checkpoint_location(found.location.parent.parent, int(agreed)))


def _resume(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: AnyConfig,
    world_size: int,
    data_fingerprint: str,
    source: str,
    group: RankGroup,
) -> list[Event]:
    state = checkpoint.state
    log = [
        Event(
            f"continuing from {source} checkpoint {checkpoint.location.uri} "
            f"(step {state.step}, epoch {state.epoch}, {state.step_in_epoch} steps into it)"
        )
    ]
    if holds_first_modules(checkpoint, config):
        log.append(load_first_modules(checkpoint, network, optimizer, group))
    else:
        _load_weights(checkpoint, network, config)
        load_optimizer(checkpoint, network, optimizer, group if state.world_size == world_size else ALONE)
    batch_before = state.world_size * state.batch_size * state.accumulate
    batch = world_size * config.train.batch_size * config.train.accumulate
    if batch_before != batch or state.world_size != world_size:
        goes_on = progress_behind(state, config, world_size)
        log.append(
            Event(
                f"the batch was {state.world_size} workers x {state.batch_size} x {state.accumulate} = {batch_before} "
                f"crops and is now {batch} over {world_size}: the weights will differ from those of an uninterrupted "
                f"run, and epoch {state.epoch} goes on at step {goes_on.step_in_epoch}"
            )
        )
    if state.data_fingerprint != data_fingerprint:
        if source == "this run's":
            raise CheckpointError(
                f"{checkpoint.location.uri} was trained on data {state.data_fingerprint[:12]}, these shards are "
                f"{data_fingerprint[:12]}; use --init-from to take the weights alone, under another storage.name"
            )
        log.append(
            Event(f"other data than before ({state.data_fingerprint[:12]}): epoch {state.epoch} starts over")
        )
    return log


def _other_input(checkpoint: Checkpoint, config: AnyConfig) -> list[Event]:
    """An event if the weights learned on audio that was normalized in another way, which no architecture shows."""
    if not isinstance(config, RunConfig):
        return []
    there, here = checkpoint.config().data.normalize, config.data.normalize
    if there == here:
        return []
    return [Event(f"the weights learned with data.normalize={there}, and this run has data.normalize={here}")]


def _load_weights(checkpoint: Checkpoint, network: nn.Module, config: AnyConfig) -> None:
    check_same_architecture(checkpoint, config.architecture, type(config))
    load_tensors(checkpoint, network)
