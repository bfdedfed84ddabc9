"""Whether a run may continue from a checkpoint, told from the configs of both. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from vgim.config import AnyConfig, RunConfig
from vgim.config.difference import blocking_difference
from vgim.config.schema import ModelConfig, Section
from vgim.errors import ConfigError
from vgim.model.specs import module_specs
from vgim.runs.architecture import check_same_architecture
from vgim.runs.checkpoint import Checkpoint
from vgim.training.progress import (
    Progress,
    how_to_go_on,
    phases,
    progress_behind,
    remaining,
    schedule_of,
)

MORE_MODULES = ("depth", "gru_units", "gru_bidirectional")
"""Keys of the model by which a run may have more modules than the run that it continues."""


def holds_first_modules(checkpoint: Checkpoint, config: AnyConfig) -> bool:
    """Whether a checkpoint holds the first modules of this run, and the schedule lets the run continue from it."""
    return isinstance(config, RunConfig) and _continues_shallower(checkpoint.config(), config)


def _continues_shallower(shallower: RunConfig, config: RunConfig) -> bool:
    first, all_modules = module_specs(shallower.model), module_specs(config.model)
    return (
        schedule_of(config).continues_shallower_runs
        and shallower.train.schedule == config.train.schedule
        # The specs lack whose statistics a normalization takes.
        and shallower.model.batch_norm == config.model.batch_norm
        and shallower.model.posterior_norm == config.model.posterior_norm
        and len(first) < len(all_modules)
        and first == all_modules[: len(first)]
    )


def other_settings(checkpoint: Checkpoint, config: AnyConfig) -> list[str]:
    """Settings that decide what is learned and differ from those of a checkpoint's run, as "key: old → new".

    The encoder's own differ only from a shallower run, whose modules have a message of their own.
    """
    differing = blocking_difference(checkpoint.config(type(config)), config)
    return [difference for difference in differing if not difference.startswith("model.")]


def check_resumable(checkpoint: Checkpoint, config: AnyConfig) -> None:
    """Refuse to continue from a checkpoint of another architecture, unless it holds this run's first modules.

    Raises:
        CheckpointError: the architectures differ; each differing key is named, but those that only add modules.
    """
    if holds_first_modules(checkpoint, config):
        return
    architecture: Mapping[str, Section] = config.architecture
    if isinstance(config, RunConfig):
        theirs = checkpoint.config()
        longer = _with_modules_of(theirs.model, config.model)
        if _continues_shallower(theirs, config.model_copy(update={"model": longer})):
            architecture = {"model": _with_modules_of(config.model, theirs.model)}
    check_same_architecture(checkpoint, architecture, type(config))


def start_behind(
    checkpoint: Checkpoint, config: AnyConfig, world_size: int, data_fingerprint: str
) -> Progress:
    """Progress from which a run goes on behind a checkpoint of another run.

    On other data the epoch starts over. Validation losses count anew where other data, or other settings than the
    optimizer's, change what they measure.

    Args:
        world_size: ranks of the run, or its virtual ranks.
        data_fingerprint: fingerprint of the run's shards.
    """
    # The run itself trains all modules that it has, also those that followed a source.
    progress = replace(progress_behind(checkpoint.state, config, world_size), source_step=None)
    same_data = checkpoint.state.data_fingerprint == data_fingerprint
    if not same_data:
        progress = replace(progress, step_in_epoch=0)
    if same_data and all(setting.startswith("optim.") for setting in other_settings(checkpoint, config)):
        return progress
    return replace(progress, validation_loss=None, best_loss=None, stale_validations=0)


def check_steps_are_left(checkpoint: Checkpoint, config: AnyConfig, data_fingerprint: str) -> None:
    """Refuse to continue from a checkpoint behind which this run has nothing to train, and would end without its own.

    Raises:
        ConfigError: There is no step left, or the schedule has fewer phases than the checkpoint's run has ended.
    """
    progress = start_behind(checkpoint, config, checkpoint.state.world_size, data_fingerprint)
    if remaining(progress, config):
        return
    if progress.phase < len(phases(config)):
        fix = how_to_go_on(progress, config)
    else:
        fix = f"use train.schedule={checkpoint.config(type(config)).train.schedule}, as its run did"
    raise ConfigError(
        f"{checkpoint.location.uri} (step {progress.step}, epoch {progress.epoch}) leaves nothing to train under "
        f"train.schedule={config.train.schedule}: {fix}, or load its weights alone by --init-from"
    )


def _with_modules_of(model: ModelConfig, other: ModelConfig) -> ModelConfig:
    return model.model_copy(update={key: getattr(other, key) for key in MORE_MODULES})
