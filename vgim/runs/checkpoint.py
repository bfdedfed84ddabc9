"""Checkpoints: folders of weights, optimizer state, config and a typed training state.

    RUN/checkpoints/step-00000200/  weights.safetensors  optimizer.safetensors  config.yaml  state.json

`state.json` is written last, holds size and hash of the other files, and carries its own checksum. So a folder without
it is no checkpoint, and a changed byte in any file is found. Loading a checkpoint executes nothing in it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from vgim.config import AnyConfig, DecoderConfig, RunConfig, from_yaml
from vgim.errors import CheckpointError, StorageError
from vgim.runs.background import run_beside
from vgim.runs.checkpoint_scan import (
    PREFIX,
    TO_CONTINUE,
    TO_LOAD,
    TO_READ,
    CheckpointScan,
    Damage,
    ScannedCheckpoint,
    read_state,
    scan_checkpoints,
    step_folder,
)
from vgim.runs.layout import CHECKPOINTS, CONFIG, OPTIMIZER, STATE, STATISTICS, WEIGHTS
from vgim.runs.training_state import FileStamp, TrainingState
from vgim.storage import Bytes, Location

if TYPE_CHECKING:
    from torch import Tensor

RUNNING = ".running_"
"""Part of the names of the buffers that `statistics.safetensors` replaces."""
WRITING = "checkpoint"
"""Name of the threads that write a checkpoint."""

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
            CheckpointError: The checkpoint is missing, was never finished, is damaged, or was written by another
                version.
        """
        if not location.child(STATE).exists():
            raise CheckpointError(
                f"{location.uri} is no complete checkpoint: it has no {STATE}; name a folder "
                f"{CHECKPOINTS}/{PREFIX}... of a run, or the run itself. A run that trains deletes older ones "
                "(train.keep_last); then the same command finds its newest"
            )
        state = read_state(location)
        if isinstance(state, Damage):
            raise _refusal(state)
        return cls(location, state)

    def config(self, root: type[Config] = RunConfig) -> Config:  # type: ignore[assignment]
        """The resolved config of the run that wrote the checkpoint; `root` is the kind of config that the run has."""
        return from_yaml(self.read_file(CONFIG).decode(), self.location.child(CONFIG).uri, root)

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, on the CPU."""
        return self._tensors(WEIGHTS)

    def weights_for_readers(self) -> dict[str, Tensor]:
        """`weights`, with the statistics of clean audio where the checkpoint has some.

        Raises:
            CheckpointError: A file is missing or damaged, or the statistics do not fit the weights.
        """
        weights = self.weights()
        if STATISTICS not in self.state.files:
            return weights
        own = self._tensors(STATISTICS)
        replaced = {name: tensor for name, tensor in weights.items() if RUNNING in name}
        for name in sorted(replaced.keys() | own.keys()):
            if not _can_replace(own.get(name), replaced.get(name)):
                problem = (
                    f"does not fit the weights: {name} is missing, unknown, of another shape or not finite"
                )
                raise _refusal(Damage(self.location.child(STATISTICS), problem))
        return {**weights, **own}

    @property
    def files_for_readers(self) -> tuple[str, ...]:
        """Names of the files of `weights_for_readers` and `config`."""
        return tuple(self.state.required(TO_READ))

    @property
    def sha256_for_readers(self) -> str:
        """A hash that names `weights_for_readers`: of the weights' file, and of the statistics' if there is one."""
        weights, *statistics = (
            self.state.files[name].sha256 for name in (WEIGHTS, STATISTICS) if name in self.state.files
        )
        return hashlib.sha256((weights + statistics[0]).encode()).hexdigest() if statistics else weights

    def optimizer(self) -> dict[str, Tensor]:
        """Optimizer state as `<parameter>/<state>`, on the CPU."""
        return self._tensors(OPTIMIZER)

    def contents(self) -> dict[str, bytes]:
        """Content of the files but `state.json`, by name, for `write_checkpoint`.

        Raises:
            CheckpointError: A file is missing or damaged.
        """
        return {name: self.read_file(name) for name in self.state.files}

    def damage(self, names: Sequence[str]) -> Damage | None:
        """The first file among `names` that is missing, or whose SHA-256 is not the one in the state; reads them all.

        Raises:
            StorageError: A file is there and cannot be read.
        """
        for name in self.state.required(names):
            found = self._read(name)
            if isinstance(found, Damage):
                return found
        return None

    def check_files(self, names: Sequence[str]) -> None:
        """Refuse the checkpoint if a file among `names` is missing or damaged.

        Raises:
            CheckpointError: A file is missing or damaged; the fix names another checkpoint of the run.
        """
        damage = self.damage(names)
        if damage is not None:
            raise _refusal(damage)

    def delete(self) -> None:
        """Remove the checkpoint, `state.json` first: a half-removed folder is no complete checkpoint."""
        self.location.child(STATE).delete()
        self.location.delete()

    def read_file(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            CheckpointError: The file is missing or damaged; the fix names another checkpoint of the run.
        """
        found = self._read(name)
        if isinstance(found, Damage):
            raise _refusal(found)
        return found

    def _tensors(self, name: str) -> dict[str, Tensor]:
        import safetensors  # it imports torch, which whoever only lists runs should not wait for
        import safetensors.torch

        data = self.read_file(name)
        try:
            loaded: dict[str, Tensor] = safetensors.torch.load(data)
        except safetensors.SafetensorError as error:
            raise _refusal(Damage(self.location.child(name), f"does not read ({error})")) from error
        return loaded

    def _read(self, name: str) -> bytes | Damage:
        stamp = self.state.files.get(name)
        path = self.location.child(name)
        if stamp is None or not path.exists():
            return Damage(path, "is missing")
        data = path.read_bytes()
        if len(data) != stamp.bytes:
            return Damage(path, f"is damaged: it has {len(data)} bytes instead of {stamp.bytes}")
        if hashlib.sha256(data).hexdigest() != stamp.sha256:
            return Damage(path, f"is damaged: its SHA-256 is not the one in {STATE}")
        return data


def checkpoint_location(run: Location, step: int) -> Location:
    """Folder of a run's checkpoint of a step."""
    return run.child(CHECKPOINTS, step_folder(step))


def write_checkpoint(
    run: Location,
    state: TrainingState,
    contents: Mapping[str, Bytes],
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> Checkpoint:
    """Write a checkpoint's files beside one another, and `state.json` last; `state.files` is filled in here.

    Args:
        contents: content of the files but `state.json`, by name.
        meanwhile: called beside the writing of these files; `state.json` waits for it.

    Raises:
        StorageError: a file could not be written, or was deleted meanwhile. There is no `state.json` then.
    """
    location, stamps = checkpoint_location(run, state.step), {}

    def write(name: str, data: Bytes) -> None:
        stamps[name] = FileStamp.of(data)
        location.child(name).write_bytes_atomic(data)

    files = [partial(write, name, data) for name, data in contents.items()]
    run_beside(WRITING, [*files, meanwhile])
    stamps = {name: stamps[name] for name in contents}
    complete = TrainingState.model_validate({**dict(state), "files": stamps, "schema_version": 2})
    location.child(STATE).write_bytes_atomic(complete.to_json())
    # Where the folder was deleted meanwhile, the state alone stands in one that was made for it.
    lost = [name for name in contents if not location.child(name).exists()]
    if lost:
        location.delete()
        raise StorageError(
            f"{location.uri} was deleted while it was written: {', '.join(lost)} is gone; "
            "leave the folder of a run alone while it trains, and give the same command again"
        )
    return Checkpoint(location, complete)


def complete_checkpoints(run: Location, names: tuple[str, ...] = TO_LOAD) -> list[Checkpoint]:
    """The checkpoints of a run whose files `names` are there, oldest first, without half-written and damaged ones.

    Damage that keeps a file's size is found when the file is read.

    Raises:
        StorageError: The storage cannot be read.
    """
    return opened_checkpoints(scan_checkpoints(run), names)


def checkpoints_and_damage(
    run: Location, names: tuple[str, ...] = TO_READ
) -> tuple[list[Checkpoint], list[Damage]]:
    """`complete_checkpoints`, and what is wrong with the state or the files `names` of checkpoints, oldest first.

    Raises:
        StorageError: The storage cannot be read.
    """
    scan = scan_checkpoints(run)
    return opened_checkpoints(scan, TO_LOAD), list(scan.all_damage(names).values())


def newest_whole_checkpoint(
    run: Location, names: Sequence[str] = TO_CONTINUE, *, besides: Location | None = None
) -> Checkpoint | None:
    """The newest checkpoint of a run whose state and files `names` are whole, which reads these files.

    Args:
        besides: A checkpoint that does not count.

    Raises:
        StorageError: The storage cannot be read.
    """
    for scanned in reversed(scan_checkpoints(run).readable.values()):
        if scanned.location != besides and (found := opened_if_whole(scanned, names)) is not None:
            return found
    return None


def opened_if_whole(scanned: ScannedCheckpoint, names: Sequence[str] = TO_CONTINUE) -> Checkpoint | None:
    """Read a scanned checkpoint's state and files `names`; None if one of them is damaged."""
    damage = find_damage(scanned, names)
    return Checkpoint(scanned.location, scanned.state) if damage is None else None


def find_damage(scanned: ScannedCheckpoint, names: Sequence[str] = TO_CONTINUE) -> Damage | None:
    """What is wrong with a scanned checkpoint's state or files `names`, which are read; None if they are whole."""
    by_size = scanned.damage(tuple(names))
    if by_size is not None:
        return by_size
    state = read_state(scanned.location)
    return state if isinstance(state, Damage) else Checkpoint(scanned.location, state).damage(names)


def find_checkpoint(where: str | os.PathLike[str]) -> Checkpoint:
    """Open a checkpoint's folder, or the newest checkpoint of a run.

    Raises:
        CheckpointError: There is no complete checkpoint, or the newest is damaged; then the newest whole one is named.
    """
    location = Location(where)
    if location.child(STATE).exists():
        return Checkpoint.open(location)
    return _choose(location, lambda checkpoints: checkpoints[-1])


def best_checkpoint(where: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint of lowest validation loss of a run; the newest if none was validated.

    Raises:
        CheckpointError: As `find_checkpoint` raises.
    """
    location = Location(where)
    if location.child(STATE).exists():
        return Checkpoint.open(location)
    return _choose(location, lambda checkpoints: (by_loss(checkpoints) or checkpoints[-1:])[0])


def _choose(run: Location, choose: Callable[[Sequence[Checkpoint]], Checkpoint]) -> Checkpoint:
    scan = scan_checkpoints(run)
    chosen = choose(_whole_to_newest(run, scan))
    opened = Checkpoint.open(chosen.location)
    if opened.state == chosen.state:
        return opened
    return choose(_whole_to_newest(run, scan_checkpoints(run, use_index=False)))


def _whole_to_newest(run: Location, scan: CheckpointScan) -> list[Checkpoint]:
    """The readable checkpoints of a run, of which the newest must be one."""
    checkpoints = opened_checkpoints(scan, TO_READ)
    damaged = scan.all_damage(TO_READ)
    newest = checkpoints[-1].state.step if checkpoints else -1
    if damaged and (latest := max(damaged)) > newest:
        raise _refusal(damaged[latest])
    if not checkpoints:
        if not run.exists():
            raise CheckpointError(
                f"there is no folder {run.uri}; name a run's folder, or a run of `vgim runs`"
            )
        raise CheckpointError(
            f"{run.uri} holds no complete checkpoint; name a run's folder, or a folder {CHECKPOINTS}/{PREFIX}... in it"
        )
    return checkpoints


def opened_checkpoints(scan: CheckpointScan, names: tuple[str, ...]) -> list[Checkpoint]:
    """The checkpoints of a scan whose files `names` have their sizes, oldest first."""
    return [
        Checkpoint(scanned.location, scanned.state)
        for scanned in scan.readable.values()
        if scanned.damage(names) is None
    ]


def _refusal(damage: Damage) -> CheckpointError:
    """The error for a damaged file of a checkpoint, with what to do about it."""
    return CheckpointError(f"{damage}; {_fix(damage)}")


def _fix(damage: Damage) -> str:
    if damage.is_foreign:
        return "use the version that wrote it, or another checkpoint"
    folder = damage.folder
    if folder.parent.name != CHECKPOINTS:
        return "restore the file, or use another checkpoint"
    other = newest_whole_checkpoint(folder.parent.parent, TO_READ, besides=folder)
    if other is None:
        return "restore the file, or train another run: this one has no other whole checkpoint"
    return f"use {other.location.uri}, the newest of the run's other checkpoints that are whole"


def by_loss(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Validated checkpoints, best first. Losses of different modules do not compare, so later phases come first."""
    losses = [(c.state.validation_loss, c) for c in checkpoints]
    scored = [(-c.state.phase, loss, c.state.step, c) for loss, c in losses if loss is not None]
    return [c for *_, c in sorted(scored, key=lambda entry: entry[:3])]


def _can_replace(new: Tensor | None, old: Tensor | None) -> bool:
    return new is not None and old is not None and new.shape == old.shape and bool(new.isfinite().all())
