"""Whether a run may train one more module behind those of another run, told from the configs. Imports no torch."""

from __future__ import annotations

from vgim.cluster.working_dir import refuse_job_folder
from vgim.config import AnyConfig, RunConfig
from vgim.data.shards.manifest import Manifest
from vgim.errors import CheckpointError, ConfigError, StorageError
from vgim.model.specs import ModuleSpec, module_specs
from vgim.runs.checkpoint import Checkpoint, complete_checkpoints
from vgim.storage import Location


def source_of(config: AnyConfig) -> Location | None:
    """Folder of the run behind whose modules a run trains one more; None for other runs, and for decoders."""
    return Location(config.attach.run) if isinstance(config, RunConfig) and config.attach.run else None


def attached_config(config: RunConfig, run: Location) -> RunConfig:
    """The config with a depth of one module more than its source, which is `attach.run`, has.

    A run that has checkpoints of its own holds the source's modules, and goes on where the source is gone.

    Args:
        run: Folder of the run.

    Raises:
        ConfigError: There is no module behind the source's modules, or these are other modules than the config's.
        CheckpointError: The source has no checkpoint.
    """
    source = Location(config.attach.run)
    refuse_job_folder("attach.run", config.attach.run)
    if source == run:
        raise ConfigError(
            f"attach.run={source.uri} is this run's own folder; give this run another storage.name"
        )
    try:
        checkpoint = newest_checkpoint(source)
    except (CheckpointError, StorageError):
        own = [checkpoint.config() for checkpoint in complete_checkpoints(run)[-1:]]
        if not own or own[0].attach != config.attach:
            raise
        return _with_depth(config, own[0].model.num_modules)
    theirs = checkpoint.config()
    num_modules = theirs.model.num_modules
    if num_modules >= (config.model.depth or config.model.full_depth):
        named = f"model.depth={config.model.depth}" if config.model.depth else "the whole encoder"
        raise ConfigError(
            f"attach.run={source.uri} has {num_modules} modules already, and this config has "
            f"{config.model.num_modules} ({named}), none of which is behind them; raise model.depth or "
            "model.extra_modules, or attach to a shallower run"
        )
    _check_same_modules(source, theirs, config)
    return _with_depth(config, num_modules + 1)


def check_same_statistics(checkpoint: Checkpoint, config: RunConfig, manifest: Manifest) -> None:
    """Refuse shards whose audio would be normalized by other statistics than the source's modules learned on.

    Raises:
        ConfigError: `data.normalize` is corpus, and the statistics differ.
    """
    state = checkpoint.state
    theirs, ours = (state.corpus_mean, state.corpus_std), (manifest.corpus_mean, manifest.corpus_std)
    if config.data.normalize == "corpus" and None not in theirs and theirs != ours:
        raise ConfigError(
            f"data.normalize=corpus normalizes {config.data.shards} by mean {ours[0]:.4g} and deviation {ours[1]:.4g}, "
            f"but the modules of attach.run={config.attach.run} learned on mean {theirs[0]:.4g} and deviation "
            f"{theirs[1]:.4g}; use its shards"
        )


def newest_checkpoint(source: Location) -> Checkpoint:
    """The newest checkpoint of a source.

    Raises:
        CheckpointError: It has none.
    """
    checkpoints = complete_checkpoints(source)
    if not checkpoints:
        raise CheckpointError(
            f"attach.run={source.uri} has no complete checkpoint; name the folder of a run that has written one "
            "(train.checkpoint_every_steps writes the first one sooner)"
        )
    return checkpoints[-1]


def _with_depth(config: RunConfig, depth: int) -> RunConfig:
    if depth == config.model.num_modules:
        return config
    return config.model_copy(update={"model": config.model.model_copy(update={"depth": depth})})


def _check_same_modules(source: Location, theirs: RunConfig, config: RunConfig) -> None:
    """Refuse a source whose modules are not the first ones of the config's encoder, or learned on other audio."""
    num_modules = theirs.model.num_modules
    whole = config.model.model_copy(update={"depth": 0})
    lower, ours = module_specs(theirs.model), module_specs(whole)
    differing: list[str] = []
    if lower != ours[:num_modules]:
        differing = [
            f"model.{key}={there} there, {here} here"
            for key, here in whole
            if key != "depth" and (there := getattr(theirs.model, key)) != here
        ]
        if _is_gru(lower[-1]):
            differing.insert(0, f"its last module is a GRU, and module {num_modules - 1} is none here")
    if (theirs.model.batch_norm == "none") != (config.model.batch_norm == "none"):
        differing.append(f"model.batch_norm={theirs.model.batch_norm} there, {config.model.batch_norm} here")
    steps = [[o.steps_of_module(m) for m in range(num_modules)] for o in (theirs.objective, config.objective)]
    if steps[0] != steps[1]:
        differing.append(f"objective.prediction_steps={steps[0]} there, {steps[1]} here")
    for name in ("loss", "logvar_max"):
        there, here = getattr(theirs.objective, name), getattr(config.objective, name)
        if there != here:
            differing.append(f"objective.{name}={there} there, {here} here")
    if theirs.data.normalize != config.data.normalize:
        differing.append(f"data.normalize={theirs.data.normalize} there, {config.data.normalize} here")
    if differing:
        raise ConfigError(
            f"attach.run={source.uri} has other modules than the first ones of this config ({'; '.join(differing)}); "
            "set these keys to its values, or attach to another run"
        )


def _is_gru(spec: ModuleSpec) -> bool:
    return not spec.convs
