"""A trained run and the shards to look at it on, found and checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from vgim.config import RunConfig
from vgim.data.shards.cache import cache_plan, use_cache
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.manifest import Manifest, read_manifest
from vgim.errors import ConfigError, DataError
from vgim.model.audio import Normalizer
from vgim.pretrained.choices import CheckpointChoice, Device
from vgim.pretrained.device import find_device
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.pretrained.normalization import normalizer_of
from vgim.runs.checkpoint import best_checkpoint, complete_checkpoints, find_checkpoint
from vgim.runs.folder import RunFolder, no_run
from vgim.runs.layout import STATE
from vgim.storage import Location
from vgim.text import plural, use_indices


@dataclass(frozen=True)
class OpenedRun:
    """What every job on a trained encoder starts from."""

    source: Location
    """Folder that the user named: the run's, or a checkpoint's."""
    folder: Location
    """The run's folder, where results go."""
    config: RunConfig
    """Config that the run was trained with."""
    checkpoint: CheckpointChoice
    shards: Location
    """Shards to look at the encoder on; by default those of its training."""
    manifest: Manifest
    """Manifest of `shards`."""
    device: torch.device

    @cached_property
    def encoder(self) -> FrozenEncoder:
        """The trained encoder on `device`, loaded at first use.

        Raises:
            CheckpointError: There is no complete checkpoint, or it is damaged.
        """
        which = "best" if self.checkpoint == "best" else "last"
        return load_encoder(self.source.uri, which=which, device=self.device)

    @cached_property
    def normalizer(self) -> Normalizer:
        """The normalization of the run's training, also for encoders of the same config that are not trained."""
        if self.config.data.normalize == "none":
            return Normalizer()
        found = None
        if self.checkpoint == "named" or complete_checkpoints(self.source):
            found = (best_checkpoint if self.checkpoint == "best" else find_checkpoint)(self.source.uri)
        return normalizer_of(found, self.config)

    def modules(self, module: int | None) -> tuple[int, ...]:
        """Indices of the modules that `--module` selects, ascending, counted from the input.

        Args:
            module: Index, negative from the last; None for all.

        Raises:
            ConfigError: The encoder has no such module.
        """
        num_modules = self.config.model.num_modules
        if module is None:
            return tuple(range(num_modules))
        if not -num_modules <= module < num_modules:
            raise ConfigError(
                f"--module {module}, but the run's encoder has {plural(num_modules, 'module')}; "
                f"{use_indices(num_modules)}, or -1 for the last"
            )
        return (module % num_modules,)


def open_run(
    where: str,
    *,
    checkpoint: CheckpointChoice = "last",
    shards: str | None = None,
    device: Device = "auto",
) -> OpenedRun:
    """Find a run, its config and the shards; weights are loaded when they are first used.

    Args:
        where: Folder of a run or of a checkpoint, a path or a URI.
        checkpoint: Which checkpoint of a run; a checkpoint's own folder becomes `named`.
        shards: Other shards than the run was trained on.
        device: Device that the encoder will run on.

    Raises:
        VgimError: The run, the shards or the device is not there, or a named checkpoint is to be the best one.
    """
    source = Location(where)
    folder = source
    if source.child(STATE).exists():
        if checkpoint == "best":
            raise ConfigError(
                f"--checkpoint best, but {source.uri} is one checkpoint; name the run, or leave --checkpoint out"
            )
        folder, checkpoint = source.parent.parent, "named"
    config = run_config(where)
    on_device = find_device(device, "--device")
    at = Location(shards or config.data.shards)
    if shards is None and not at.exists():
        raise DataError(
            f"the shards that {folder.uri} was trained on are not at {at}; if they were moved, give their folder with "
            "--shards, else prepare them there again with `vgim data prepare`"
        )
    manifest = read_manifest(at)
    check_shards_present(at, manifest)
    use_cache(cache_plan(at, manifest, config.data, fills=False))  # a job reads each shard once or twice
    return OpenedRun(source, folder, config, checkpoint, at, manifest, on_device)


def run_config(where: str) -> RunConfig:
    """The config of a run or of a checkpoint.

    Raises:
        CheckpointError: There is none.
        ConfigError: It does not read as an encoder's.
    """
    source = Location(where)
    config = RunFolder(source).config()
    if config is None:
        raise no_run(source)
    return config
