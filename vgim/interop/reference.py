"""Converts checkpoints of the public reference implementation (`model_*.ckpt`) to runs and back; weights only."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from pydantic import ValidationError

from vgim.config import RunConfig, load_config, to_yaml
from vgim.config.keys import dump, flatten
from vgim.config.schema import AugmentConfig, Family, StorageConfig
from vgim.config.yaml_text import to_flow
from vgim.errors import CheckpointError, ConfigError, StorageError
from vgim.interop.reference_file import read_state_dict
from vgim.interop.reference_keys import Architecture, normalize, read_architecture
from vgim.interop.reference_weights import put_reference, to_reference
from vgim.model.audio import Normalize
from vgim.model.optimizers import Adam
from vgim.model.specs import module_specs
from vgim.model.stack import Encoder, build_encoder
from vgim.runs.checkpoint import find_checkpoint
from vgim.runs.environment import git_revision, package_versions, utc_now
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.layout import CHECKPOINTS, CONFIG, RECORD
from vgim.runs.training_state import TrainingState
from vgim.runs.weights import load_weights, save_checkpoint
from vgim.storage import Location
from vgim.training.progress import Progress

PREFIX = "module."  # the reference saves its DataParallel wrapper
OF_THE_REFERENCE = {
    "data.normalize": "none",
    **{f"data.augment.{key}": value for key, value in AugmentConfig()},
    "model.preemphasis": 0.0,
    "model.gru_bidirectional": False,
    "model.posterior_norm": "none",
    "objective.target_rate": 0.0,
}
"""What the reference has in all its runs, and its files do not say. An imported run has it too, whatever its preset."""
GRU_OF_LIBRISPEECH = "model.gru_units=256"
"""What the reference has where the presets `librispeech-...` have a wider GRU."""


@dataclass(frozen=True)
class ImportedRun:
    """A run that was made from a reference checkpoint."""

    run: str
    architecture: Architecture
    notes: list[str]
    """Sentences that a user of the run should read."""


def import_reference(
    file: str, out: str, preset: str | None, overrides: Sequence[str] = (), family: Family | None = None
) -> ImportedRun:
    """Convert a reference checkpoint to a run.

    Args:
        file: Path or URI of the checkpoint.
        out: Folder of the new run, which must not hold a run.
        preset: Config of strides, paddings and all else that is not in the file; None for the LibriSpeech preset of
            the file's family. The keys of `OF_THE_REFERENCE` have the reference's values instead of its own.
        overrides: `key=value` for keys of the config, those of the reference too.
        family: sim or gim, whatever the file's heads look like; None reads it from them.

    Raises:
        CheckpointError: The file does not load as weights alone, is damaged, has unknown or missing tensors or numbers
            that are not finite, is of another family or architecture than the config, or does not tell its family; the
            keys that differ are named.
        ConfigError: The preset or an override cannot be used.
        StorageError: The file cannot be read, or the run cannot be written.
    """
    source, run = Location(file), Location(out)
    for name in (RECORD, CONFIG, CHECKPOINTS):
        if run.child(name).exists():
            raise StorageError(f"{run.uri} holds a run already; give --out a folder of its own")
    data = source.read_bytes()
    try:
        tensors = normalize(read_state_dict(data))
        found = read_architecture(tensors)
        architecture = _with_family(found, family)
        if preset is None:
            preset = f"librispeech-{_known_family(architecture)}"
            overrides = [GRU_OF_LIBRISPEECH, *overrides]
            if architecture.family == "gim" and architecture.heads:
                overrides = ["model.head=linear", *overrides]
        of_reference = [f"{key}={to_flow(value)}" for key, value in OF_THE_REFERENCE.items()]
        config = _with_storage(load_config(preset, [*of_reference, *overrides]).config, run)
        if architecture.family is None:
            architecture = _with_family(found, "gim" if config.model.family == "gim" else "sim")
        _check_agrees(architecture, config, preset)
        encoder = build_encoder(config.model, config.objective, config.train.seed)
        put_reference(encoder, tensors)
        _refuse_nonfinite(encoder)
    except CheckpointError as error:
        raise CheckpointError(f"{source.uri}: {error}") from error
    _write(run, encoder, config, source, hashlib.sha256(data).hexdigest())
    return ImportedRun(run.uri, architecture, _notes(found, config, preset))


@dataclass(frozen=True)
class ExportedFile:
    """A file of the reference that was made from a checkpoint."""

    uri: str
    notes: list[str]
    """Sentences that a user of the file should read."""


def export_reference(where: str, out: str) -> ExportedFile:
    """Write the weights of a checkpoint, or of a run's last one, as a file of the reference.

    Raises:
        CheckpointError: There is no checkpoint, or the reference's format cannot state what it was trained with.
        StorageError: `out` exists or cannot be written.
    """
    checkpoint, path = find_checkpoint(where), Location(out)
    if path.exists():
        raise StorageError(f"{path.uri} exists; remove it, or give --out another name")
    config = checkpoint.config()
    if lacks := _what_the_reference_lacks(config):
        raise CheckpointError(f"{checkpoint.location.uri} has {lacks}; export it with `vgim export`")
    encoder = build_encoder(config.model, config.objective, config.train.seed)
    load_weights(checkpoint, encoder)
    data = io.BytesIO()
    torch.save({PREFIX + name: tensor for name, tensor in to_reference(encoder).items()}, data)
    path.write_bytes_atomic(data.getvalue())
    return ExportedFile(path.uri, _notes_on_input(config.data.normalize, checkpoint.state))


def _what_the_reference_lacks(config: RunConfig) -> str | None:
    """The first setting that changes what an encoder computes and that no file of the reference can state."""
    model, steps = config.model, config.objective.plain_steps
    if model.preemphasis:
        return f"model.preemphasis={model.preemphasis:g}, which no file of the reference can state"
    if model.posterior_norm != "none":
        return f"model.posterior_norm={model.posterior_norm}, and the reference has no normalized posteriors"
    if model.gru_bidirectional:
        return "model.gru_bidirectional=true, and the reference knows no GRU that reads from the end"
    if isinstance(steps, tuple):
        return f"objective.prediction_steps={_shown(steps)}, and a file of the reference has one K for all modules"
    return None


def _notes_on_input(normalize: Normalize, state: TrainingState) -> list[str]:
    """How the audio must be normalized before the reference reads it with these weights."""
    if normalize == "none":
        return []
    mean, std = "its recording's mean", "its recording's standard deviation"
    if normalize == "corpus":
        mean, std = "the mean of its shards", "their standard deviation"
        if state.corpus_mean is not None:  # vgim 0.1 did not record them
            mean, std = f"the mean {state.corpus_mean:.9g}", f"the standard deviation {state.corpus_std:.9g}"
    return [
        f"the encoder was trained with data.normalize={normalize}, which the file cannot state: give the reference "
        f"audio in [-1, 1] less {mean}, divided by {std}"
    ]


def _refuse_nonfinite(encoder: Encoder) -> None:
    for name, tensor in encoder.state_dict().items():
        if not tensor.isfinite().all():
            raise CheckpointError(
                f"its weights hold values that are not finite numbers (in {name}); its training diverged, so convert "
                "an earlier checkpoint"
            )


def _with_family(found: Architecture, family: Family | None) -> Architecture:
    """The architecture as one of `family`; unchanged if that is None."""
    if family is None or family == found.family:
        return found
    if found.family == "cpc" or not found.heads:
        raise CheckpointError(
            f"--family {family}, but it is a {found.family}, because {found.family_reason}; leave --family out"
        )
    return replace(found, family=family)


def _known_family(architecture: Architecture) -> Family:
    if architecture.family is None:
        raise CheckpointError(
            f"it does not tell whether it is a sim or a gim, because {architecture.family_reason}; add --family sim "
            "if its latents were sampled, or --family gim if they were μ"
        )
    return architecture.family


def _with_storage(config: RunConfig, run: Location) -> RunConfig:
    """The config with `storage` set to the run's folder."""
    try:
        storage = StorageConfig(root=run.parent.uri, name=run.name)
    except ValidationError:
        raise ConfigError(
            f"--out {run.uri}: a run's name holds letters, digits, '.', '_' and '-', and begins with a letter or digit"
        ) from None
    return config.model_copy(update={"storage": storage})


def _check_agrees(theirs: Architecture, config: RunConfig, preset: str) -> None:
    """Refuse a file whose architecture differs from the config's; the message has overrides that make them agree."""
    specs = module_specs(config.model)
    stacks = (spec.relus or (True,) * len(spec.convs) for spec in specs)
    ours: dict[str, Any] = {
        "model.family": config.model.family,
        "model.channels": config.model.channels,
        "model.kernels": tuple(conv.kernel for spec in specs for conv in spec.convs),
        "model.relus": tuple(relu for stack in stacks for relu in stack),
        "model.layers_per_module": tuple(len(spec.convs) for spec in specs if spec.convs),
        "model.gru_units": sum(spec.gru_units for spec in specs),
        "model.gru_bidirectional": any(spec.gru_bidirectional for spec in specs),
        "model.batch_norm": config.model.batch_norm,
        "model.posterior_norm": config.model.posterior_norm,
        "model.head": config.model.head,
        "model.preemphasis": config.model.preemphasis,
        "objective.prediction_steps": config.objective.plain_steps,
    }
    batch_norm = "none" if not theirs.batch_norm else "local"
    if theirs.batch_norm and config.model.batch_norm != "none":
        batch_norm = config.model.batch_norm  # local or sync: the same weights
    head = "linear" if theirs.heads and theirs.family == "gim" else "none"
    if theirs.family == "cpc" and theirs.heads:
        head = config.model.head  # with none it moves into what reads it
    in_file: dict[str, Any] = {
        "model.family": theirs.family,
        "model.channels": theirs.channels,
        "model.kernels": theirs.kernels,
        "model.relus": theirs.relus,
        "model.layers_per_module": theirs.layers_per_module,
        "model.gru_units": theirs.gru_units,
        "model.gru_bidirectional": False,
        "model.batch_norm": batch_norm,
        "model.posterior_norm": "none",
        "model.head": head,
        "model.preemphasis": 0.0,
        "objective.prediction_steps": theirs.prediction_steps,
    }
    differing = [key for key in ours if ours[key] != in_file[key]]
    if not differing:
        return
    named = "; ".join(
        f"{key}={_shown(in_file[key])} in the file, {_shown(ours[key])} in {preset}" for key in differing
    )
    fix = "add " + " ".join(f"{key}={_shown(in_file[key])}" for key in differing)
    if "model.family" in differing:
        fix = f"use a preset of family {theirs.family}"
        if {theirs.family, config.model.family} == {"sim", "gim"} and theirs.heads:
            needed = (
                " model.head=linear" if (config.model.family, config.model.head) == ("gim", "none") else ""
            )
            fix += f" ({theirs.family_reason}), or add --family {config.model.family}{needed}"
    elif "model.kernels" in differing:
        if config.model.extra_modules:
            fix += " model.extra_modules=0 model.extra_layers=1"
        fix += ", with model.strides and model.paddings to match, or model.depth where the file has fewer modules"
    raise CheckpointError(f"another architecture than the config: {named}; {fix}")


def _shown(value: Any) -> str:
    return to_flow(list(value) if isinstance(value, tuple) else value).replace(" ", "")


def _write(run: Location, encoder: Encoder, config: RunConfig, source: Location, sha256: str) -> None:
    """Write the run's folder: one checkpoint at step 0, and the record last."""
    origin = f"reference-{sha256}"
    run.child(CONFIG).write_bytes_atomic(to_yaml(config).encode())
    state = TrainingState(
        **asdict(Progress()),
        world_size=1,
        batch_size=config.train.batch_size,
        accumulate=config.train.accumulate,
        seed=config.train.seed,
        data_fingerprint=origin,
        vgim_version=package_versions()["vgim"],
        torch_version=torch.__version__,
        files={},
    )
    save_checkpoint(run, encoder, Adam(encoder.parameters()), config, state)
    RunFolder(run).write(
        RunRecord(
            name=run.name,
            state="finished",
            message=f"weights imported from {source.uri}",
            created=utc_now(),
            updated=utc_now(),
            launches=0,
            command=tuple(sys.argv),
            host=socket.gethostname(),
            pid=os.getpid(),
            seed=config.train.seed,
            data_fingerprint=origin,
            data=source.uri,
            family=config.model.family,
            kld_weight=config.kld_weight,
            target_rate=config.target_rate,
            workers=0,
            versions=package_versions(),
            git_revision=git_revision(),
        )
    )


def _notes(theirs: Architecture, config: RunConfig, preset: str) -> list[str]:
    convs = [conv for spec in module_specs(config.model) for conv in spec.convs]
    notes = [
        f"strides {_shown(tuple(c.stride for c in convs))} and paddings {_shown(tuple(c.padding for c in convs))} are "
        f"the config's ({preset}, with overrides): the file does not hold them"
    ]
    ours, kept = flatten(dump(load_config(preset).config)), flatten(dump(config))
    unlike = [
        f"{key}={_shown(value)}" for key, value in OF_THE_REFERENCE.items() if kept[key] == value != ours[key]
    ]
    if unlike:
        notes.append(
            f"as in the reference, and not as in {preset}: {', '.join(unlike)}; an override keeps another value"
        )
    if theirs.biases:
        notes.append(
            "biases before BatchNorm moved into its running means: what the encoder computes is the same"
        )
    if theirs.family == "cpc" and theirs.heads and config.model.head == "none":
        notes.append(
            "the head of μ moved into GRU and predictors: contexts and losses are the same; with model.head=linear it "
            "stays a head"
        )
    if theirs.family != "cpc" and theirs.heads:
        notes.append(_note_on_family(theirs, config.model.family))
    return notes


def _note_on_family(found: Architecture, family: Family) -> str:
    """How a file with heads was read, and how it can be read otherwise."""
    other = "gim" if family == "sim" else "sim"
    meaning = {
        "sim": "latents are samples of N(μ, σ²), or μ",
        "gim": "latents are μ, and heads of log σ² are left out",
    }
    if found.family == family:
        said = f"imported as {family}, because {found.family_reason}: {meaning[family]}"
        return f"{said}; --family {other} overrules that"
    said = f"imported as {family}, as you asked, although {found.family_reason}: {meaning[family]}"
    return said if family == "gim" else f"{said}; encode with μ, because σ was never trained"
