"""Checkpoints: folders of weights, optimizer state, config and a typed training state.

    RUN/checkpoints/step-00000200/  weights.safetensors  optimizer.safetensors  config.yaml  state.json

`state.json` is written last and holds size and hash of the other files, so a folder without it is no checkpoint.
Loading a checkpoint executes nothing in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from vgim.config import AnyConfig, DecoderConfig, RunConfig, from_yaml
from vgim.config.schema import Section
from vgim.errors import CheckpointError, VgimError
from vgim.runs.layout import CHECKPOINTS, CONFIG, OPTIMIZER, STATE, WEIGHTS
from vgim.runs.training_state import FileStamp, TrainingState
from vgim.storage import Location
from vgim.text import first_problem

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "step-"

Config = TypeVar("Config", RunConfig, DecoderConfig, AnyConfig)


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint on storage."""

    location: Location
    state: TrainingState

    @classmethod
    def open(cls, location: Location) -> Checkpoint:
        """Read a checkpoint's state.

        Raises:
            CheckpointError: The checkpoint is missing, was never finished, or was written by another version.
        """
        state = location.child(STATE)
        if not state.exists():
            raise CheckpointError(
                f"{location.uri} is no complete checkpoint: it has no {STATE}; name a folder "
                f"{CHECKPOINTS}/{PREFIX}... of a run, or the run itself"
            )
        try:
            return cls(location, TrainingState.model_validate_json(state.read_bytes()))
        except ValidationError as error:
            raise CheckpointError(
                f"{state.uri} does not read as a training state ({first_problem(error)}); "
                "it was damaged or written by another version of vgim"
            ) from error

    def config(self, root: type[Config] = RunConfig) -> Config:  # type: ignore[assignment]
        """The resolved config of the run that wrote the checkpoint; `root` is the kind of config that the run has."""
        return from_yaml(self._file(CONFIG).decode(), self.location.child(CONFIG).uri, root)

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, on the CPU."""
        return _tensors(self._file(WEIGHTS))

    def optimizer(self) -> dict[str, Tensor]:
        """Optimizer state as `<parameter>/<state>`, on the CPU."""
        return _tensors(self._file(OPTIMIZER))

    def contents(self) -> dict[str, bytes]:
        """Content of the files but `state.json`, by name, for `write_checkpoint`.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        return {name: self._file(name) for name in self.state.files}

    def delete(self) -> None:
        """Remove the checkpoint, `state.json` first: a half-removed folder is no complete checkpoint."""
        self.location.child(STATE).delete()
        self.location.delete()

    def _file(self, name: str) -> bytes:
        stamp = self.state.files.get(name)
        path = self.location.child(name)
        data = path.read_bytes() if stamp and path.exists() else None
        if stamp is None or data is None or hashlib.sha256(data).hexdigest() != stamp.sha256:
            what = "is missing" if data is None else "is damaged: its SHA-256 is not the one in " + STATE
            raise CheckpointError(f"{path.uri} {what}; use an earlier checkpoint of the run")
        return data


def checkpoint_location(run: Location, step: int) -> Location:
    """Folder of a run's checkpoint of a step."""
    return run.child(CHECKPOINTS, f"{PREFIX}{step:08d}")


def write_checkpoint(run: Location, state: TrainingState, contents: Mapping[str, bytes]) -> Checkpoint:
    """Write a checkpoint's files, and `state.json` last; `state.files` is filled in here."""
    location, stamps = checkpoint_location(run, state.step), {}
    for name, data in contents.items():
        location.child(name).write_bytes_atomic(data)
        stamps[name] = FileStamp(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    complete = state.model_copy(update={"files": stamps})
    location.child(STATE).write_bytes_atomic(complete.model_dump_json(indent=2).encode())
    return Checkpoint(location, complete)


def complete_checkpoints(run: Location) -> list[Checkpoint]:
    """The complete checkpoints of a run, oldest first, without half-written folders."""
    folder = run.child(CHECKPOINTS)
    found = []
    for name in folder.list():
        if name.startswith(PREFIX) and folder.child(name, STATE).exists():
            found.append(Checkpoint.open(folder.child(name)))
    return sorted(found, key=lambda c: c.state.step)


def is_kept_for_good(step_in_epoch: int, epoch: int, keep_every_epochs: int) -> bool:
    """Whether `train.keep_every_epochs` keeps a checkpoint at this position: the end of every N-th epoch of the run."""
    return keep_every_epochs > 0 and step_in_epoch == 0 and epoch > 0 and epoch % keep_every_epochs == 0


def prune_checkpoints(
    run: Location, *, keep_last: int, keep_best: int, keep_every_epochs: int = 0, keep_step: int | None = None
) -> None:
    """Delete checkpoints of a run.

    Args:
        keep_last: Number of newest checkpoints to keep.
        keep_best: Number of checkpoints of lowest validation loss to keep.
        keep_every_epochs: Keep the checkpoints at the ends of epochs that are multiples of this number; 0 for none.
        keep_step: Optimizer step of another checkpoint to keep.
    """
    checkpoints = complete_checkpoints(run)
    kept = {c.location for c in checkpoints[-keep_last:] + _by_loss(checkpoints)[:keep_best]}
    for checkpoint in checkpoints:
        state = checkpoint.state
        if is_kept_for_good(state.step_in_epoch, state.epoch, keep_every_epochs):
            continue
        if checkpoint.location not in kept and state.step != keep_step:
            checkpoint.delete()


def find_checkpoint(where: str | os.PathLike[str]) -> Checkpoint:
    """Open a checkpoint's folder, or the newest checkpoint of a run.

    Raises:
        CheckpointError: There is no complete checkpoint.
    """
    location = Location(where)
    if location.child(STATE).exists():
        return Checkpoint.open(location)
    found = complete_checkpoints(location)
    if not found:
        raise CheckpointError(
            f"{location.uri} holds no complete checkpoint; name a run's folder, or a folder {CHECKPOINTS}/{PREFIX}... "
            "in it"
        )
    return found[-1]


def best_checkpoint(where: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint of lowest validation loss of a run; the newest if none was validated."""
    scored = _by_loss(complete_checkpoints(Location(where)))
    return scored[0] if scored else find_checkpoint(where)


def _by_loss(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Validated checkpoints, best first. Losses of different modules do not compare, so later phases come first."""
    losses = [(c.state.validation_loss, c) for c in checkpoints]
    scored = [(-c.state.phase, loss, c.state.step, c) for loss, c in losses if loss is not None]
    return [c for *_, c in sorted(scored, key=lambda entry: entry[:3])]


def check_same_architecture(
    checkpoint: Checkpoint,
    sections: Mapping[str, Section],
    root: type[RunConfig] | type[DecoderConfig] = RunConfig,
) -> None:
    """Refuse a checkpoint whose config has other values in `sections`.

    Raises:
        CheckpointError: Sections differ; the keys are named.
    """
    try:
        theirs = checkpoint.config(root)
    except CheckpointError:
        raise
    except VgimError as error:
        raise CheckpointError(f"{checkpoint.location.child(CONFIG).uri} does not read: {error}") from error
    differing = [
        f"{name}.{key}={there!r} there, {here!r} here"
        for name, section in sections.items()
        for key, here in section
        if (there := getattr(getattr(theirs, name), key)) != here
    ]
    if differing:
        raise CheckpointError(
            f"checkpoint {checkpoint.location.uri} is of another architecture ({'; '.join(differing)}); "
            "set these keys to its values or start from another checkpoint"
        )


def _tensors(data: bytes) -> dict[str, Tensor]:
    import safetensors  # it imports torch, which whoever only lists runs should not wait for
    import safetensors.torch

    try:
        loaded: dict[str, Tensor] = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"the tensors do not read ({error}); use an earlier checkpoint of the run"
        ) from error
    return loaded
