"""Checkpoints: a folder of weights, optimizer state, config and a typed training state, whole or absent.

    RUN/checkpoints/step-00000200/  weights.safetensors  optimizer.safetensors  config.yaml  state.json

`state.json` is written last and holds the size and hash of the others: a folder without it is no checkpoint, and
nothing in a checkpoint is executed when it is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from vgim.config import AnyConfig, DecoderConfig, RunConfig, from_yaml, to_yaml
from vgim.config.schema import Section
from vgim.errors import CheckpointError, VgimError
from vgim.model.stack import Encoder
from vgim.runs.training_state import FileStamp, TrainingState
from vgim.storage import Location

FOLDER = "checkpoints"
WEIGHTS, OPTIMIZER, CONFIG, STATE = (
    "weights.safetensors",
    "optimizer.safetensors",
    "config.yaml",
    "state.json",
)
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
            CheckpointError: it is not there, was never finished, or was written by another version.
        """
        state = location.child(STATE)
        if not state.exists():
            raise CheckpointError(
                f"{location.uri} is no complete checkpoint: it has no {STATE}; name a folder "
                f"{FOLDER}/{PREFIX}... of a run, or the run itself"
            )
        try:
            return cls(location, TrainingState.model_validate_json(state.read_bytes()))
        except ValidationError as error:
            first = error.errors()[0]
            raise CheckpointError(
                f"{state.uri} does not read as a training state ({'.'.join(map(str, first['loc']))}: {first['msg']}); "
                "it was damaged or written by another version of vgim"
            ) from error

    def config(self, root: type[Config] = RunConfig) -> Config:  # type: ignore[assignment]
        """The resolved config of the run that wrote it, of the kind that the run has."""
        return from_yaml(self._file(CONFIG).decode(), self.location.child(CONFIG).uri, root)

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers by name, on the CPU."""
        return _tensors(self._file(WEIGHTS))

    def optimizer(self) -> dict[str, Tensor]:
        """Optimizer state as `<parameter>/<state>`, on the CPU."""
        return _tensors(self._file(OPTIMIZER))

    def contents(self) -> dict[str, bytes]:
        """Its files but `state.json`, for `put`.

        Raises:
            CheckpointError: one is missing or damaged.
        """
        return {name: self._file(name) for name in self.state.files}

    def delete(self) -> None:
        """Remove it; a half-removed one is no complete checkpoint any more."""
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


def location_of(run: Location, step: int) -> Location:
    """Where a run's checkpoint of a step is."""
    return run.child(FOLDER, f"{PREFIX}{step:08d}")


def save(
    run: Location,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: AnyConfig,
    state: TrainingState,
) -> Checkpoint:
    """Write a checkpoint of `run`; `state.files` is filled in here.

    Raises:
        StorageError: the storage cannot be written; earlier checkpoints are untouched.
    """
    location = location_of(run, state.step)
    if location.child(STATE).exists():  # the same step of the same run: the same bytes
        return Checkpoint.open(location)
    contents = {
        WEIGHTS: safetensors.torch.save(_on_cpu(network.state_dict())),
        OPTIMIZER: safetensors.torch.save(_on_cpu(_flatten(network, optimizer))),
        CONFIG: to_yaml(config).encode(),
    }
    return put(run, state, contents)


def put(run: Location, state: TrainingState, contents: Mapping[str, bytes]) -> Checkpoint:
    """Write a checkpoint's files, and the state that makes it one last; `state.files` is filled in here."""
    location, stamps = location_of(run, state.step), {}
    for name, data in contents.items():
        location.child(name).write_bytes_atomic(data)
        stamps[name] = FileStamp(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    complete = state.model_copy(update={"files": stamps})
    location.child(STATE).write_bytes_atomic(complete.model_dump_json(indent=2).encode())
    return Checkpoint(location, complete)


def complete_checkpoints(run: Location) -> list[Checkpoint]:
    """The complete checkpoints of a run, oldest first; half-written ones are passed over."""
    folder = run.child(FOLDER)
    found = []
    for name in folder.list():
        if name.startswith(PREFIX) and folder.child(name, STATE).exists():
            found.append(Checkpoint.open(folder.child(name)))
    return sorted(found, key=lambda c: c.state.step)


def prune(run: Location, *, keep_last: int, keep_best: int, keep_step: int | None = None) -> None:
    """Delete all but the newest `keep_last`, the `keep_best` of lowest validation loss, and that of `keep_step`."""
    checkpoints = complete_checkpoints(run)
    kept = {c.location for c in checkpoints[-keep_last:] + _by_loss(checkpoints)[:keep_best]}
    for checkpoint in checkpoints:
        if checkpoint.location not in kept and checkpoint.state.step != keep_step:
            checkpoint.delete()


def find(where: str) -> Checkpoint:
    """The checkpoint that a user names: a checkpoint folder, or a run, whose newest one it is.

    Raises:
        CheckpointError: there is none.
    """
    location = Location(where)
    if location.child(STATE).exists():
        return Checkpoint.open(location)
    found = complete_checkpoints(location)
    if not found:
        raise CheckpointError(
            f"{location.uri} holds no complete checkpoint; name a run's folder or a folder {FOLDER}/{PREFIX}... in it"
        )
    return found[-1]


def best(where: str) -> Checkpoint:
    """The checkpoint of lowest validation loss of a run; the newest where none was validated."""
    scored = _by_loss(complete_checkpoints(Location(where)))
    return scored[0] if scored else find(where)


def _by_loss(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    """Those that were validated, best first. Losses of different modules do not compare: later phases first."""
    losses = [(c.state.validation_loss, c) for c in checkpoints]
    scored = [(-c.state.phase, loss, c.state.step, c) for loss, c in losses if loss is not None]
    return [c for *_, c in sorted(scored, key=lambda entry: entry[:3])]


def load_weights(checkpoint: Checkpoint, encoder: Encoder) -> None:
    """Put a checkpoint's weights into an encoder of the same architecture.

    Raises:
        CheckpointError: another architecture (each differing key is named), missing or damaged files.
    """
    check_same_architecture(checkpoint, {"model": encoder.model})
    load_tensors(checkpoint, encoder)


def load_tensors(checkpoint: Checkpoint, network: nn.Module) -> None:
    """Put a checkpoint's weights into a network that has the same tensors.

    Raises:
        CheckpointError: it has others, which are named; missing or damaged files.
    """
    weights = checkpoint.weights()
    ours = network.state_dict()
    wrong = [
        f"{name} {_shape(weights.get(name))} where this run has {_shape(ours.get(name))}"
        for name in sorted(ours.keys() | weights.keys())
        if _shape(weights.get(name)) != _shape(ours.get(name))
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise CheckpointError(
            f"{checkpoint.location.uri} has other tensors than this run: {'; '.join(wrong[:3])}{more}; "
            "use the config that it was trained with (config.yaml beside the weights)"
        )
    network.load_state_dict(weights)


def check_same_architecture(
    checkpoint: Checkpoint,
    sections: Mapping[str, Section],
    root: type[RunConfig] | type[DecoderConfig] = RunConfig,
) -> None:
    """Refuse a checkpoint in whose config one of `sections` differs, naming the keys."""
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


def load_optimizer(checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put a checkpoint's optimizer state in place; `load_tensors` has checked the architecture."""
    flat = checkpoint.optimizer()
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        name, _, kind = key.rpartition("/")
        by_name.setdefault(name, {})[kind] = tensor
    names = [name for name, _ in network.named_parameters()]
    if set(by_name) - set(names):
        raise CheckpointError(
            f"{checkpoint.location.child(OPTIMIZER).uri} holds state of unknown parameters "
            f"({sorted(set(by_name) - set(names))[0]}, ...); it does not belong to these weights"
        )
    current = optimizer.state_dict()
    current["state"] = {i: by_name[name] for i, name in enumerate(names) if name in by_name}
    optimizer.load_state_dict(current)


def _flatten(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = [name for name, _ in network.named_parameters()]  # Adam was given the parameters in this order
    return {
        f"{names[i]}/{kind}": value
        for i, kinds in optimizer.state_dict()["state"].items()
        for kind, value in kinds.items()
    }


def _on_cpu(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _tensors(data: bytes) -> dict[str, Tensor]:
    try:
        loaded: dict[str, Tensor] = safetensors.torch.load(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"the tensors do not read ({error}); use an earlier checkpoint of the run"
        ) from error
    return loaded


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar"
