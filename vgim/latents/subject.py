"""A trained run and the shards it is looked at on, found and checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vgim.config import RunConfig
from vgim.data.shards.manifest import Manifest, check_shards_present, read_manifest
from vgim.downstream.result import Device
from vgim.errors import CheckpointError, ConfigError
from vgim.latents.result import CheckpointChoice
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.runs.checkpoint import STATE
from vgim.runs.folder import CONFIG, RunFolder
from vgim.storage import Location


@dataclass(frozen=True)
class Subject:
    """What every job on a trained encoder starts from."""

    run: Location
    """The run's folder, where results go."""
    config: RunConfig
    """The run's."""
    checkpoint: CheckpointChoice
    shards: Location
    manifest: Manifest
    """Of the shards."""
    modules: tuple[int, ...]
    """Ascending, counted from the input."""
    trained: FrozenEncoder | None
    """None if it is not asked for."""
    corpus: tuple[float, float]
    """Mean and deviation that `data.normalize: corpus` takes."""
    device: torch.device


def open_subject(
    where: str,
    *,
    checkpoint: CheckpointChoice = "last",
    module: int | None = -1,
    shards: str | None = None,
    device: Device = "auto",
    trained: bool = True,
) -> Subject:
    """Find the run, its weights and the shards.

    Args:
        where: A run's folder or a checkpoint's, a path or a URI.
        checkpoint: Which of a run's; a checkpoint's own folder becomes `named`.
        module: Counted from the input, negative from the last; None for all.
        shards: Others than the run was trained on.
        trained: Whether the weights are loaded.

    Raises:
        VgimError: One of them is not there, or does not fit another.
    """
    path = Location(where)
    run = path
    if path.child(STATE).exists():
        if checkpoint == "best":
            raise ConfigError(
                f"--checkpoint best, but {path.uri} is one checkpoint; name the run, or leave --checkpoint out"
            )
        run = path.parent.parent
        checkpoint = "named"
    config = RunFolder(path).config()
    if config is None:
        raise CheckpointError(f"{path.uri} is no run: it has no {CONFIG}; name a run's folder")
    modules = _modules(config, module)
    on = _device(device)
    at = Location(shards or config.data.shards)
    manifest = read_manifest(at)
    check_shards_present(at, manifest)
    corpus = (0.0, 1.0)
    if config.data.normalize == "corpus":
        own = manifest if shards is None else read_manifest(config.data.shards)
        corpus = (own.corpus_mean, own.corpus_std)
    which = "best" if checkpoint == "best" else "last"
    return Subject(
        run=run,
        config=config,
        checkpoint=checkpoint,
        shards=at,
        manifest=manifest,
        modules=modules,
        trained=load_encoder(path.uri, which=which, device=on) if trained else None,
        corpus=corpus,
        device=on,
    )


def _modules(config: RunConfig, module: int | None) -> tuple[int, ...]:
    num_modules = config.model.num_modules
    if module is None:
        return tuple(range(num_modules))
    if not -num_modules <= module < num_modules:
        raise ConfigError(
            f"--module {module}, but the run's encoder has {num_modules} modules; use 0 to "
            f"{num_modules - 1}, or -1 for the last"
        )
    return (module % num_modules,)


def _device(device: Device) -> torch.device:
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda, but torch sees no GPU here; use --device auto or cpu")
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
