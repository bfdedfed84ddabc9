"""Networks and optimizers written into checkpoints, and read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import safetensors.torch
import torch
from torch import Tensor, nn

from vgim.config import AnyConfig, to_yaml
from vgim.errors import CheckpointError
from vgim.model.rank_group import ALONE, RankGroup
from vgim.model.stack import Encoder
from vgim.runs.architecture import check_same_architecture
from vgim.runs.checkpoint import Checkpoint, write_checkpoint
from vgim.runs.layout import CONFIG, OPTIMIZER, STATE, STATISTICS, WEIGHTS
from vgim.runs.recovery import written_checkpoint
from vgim.runs.training_state import FileStamp, TrainingState
from vgim.storage import Bytes, Location

PREDICTORS = ".nce"
"""Part of the names of an encoder's predictors, `….nce.weight` and `….nce_reverse.weight`."""
OF_RANKS = "/of_ranks"
"""Ending of the keys in a checkpoint's optimizer state that hold every rank's own value of a buffer, [ranks, ...]."""


def save_checkpoint(
    run: Location,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: AnyConfig,
    state: TrainingState,
) -> Checkpoint:
    """Write a checkpoint of `run`, unless a whole one of the step is there; `state.files` is filled in here.

    Raises:
        StorageError: The storage cannot be written; earlier checkpoints are untouched.
    """
    contents = {
        name: safetensors.torch.save(_on_cpu(tensors))
        for name, tensors in checkpoint_tensors(network, optimizer).items()
    }
    return write_new_checkpoint(run, state, {**contents, CONFIG: to_yaml(config).encode()})


def checkpoint_tensors(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    buffers_of_ranks: Mapping[str, Tensor] | None = None,
    owns: Callable[[str], bool] = lambda name: True,
) -> dict[str, Mapping[str, Tensor]]:
    """The tensors of a checkpoint, by the file that holds them. They are not copied: the next step changes them.

    Args:
        buffers_of_ranks: every rank's own value of the buffers that ranks have their own of, [ranks, ...], by name.
        owns: whether this rank trains the parameter or buffer of a name; other tensors are left out.
    """
    of_ranks = {name + OF_RANKS: rows for name, rows in (buffers_of_ranks or {}).items()}
    weights = {name: tensor for name, tensor in network.state_dict().items() if owns(name)}
    state = {key: value for key, value in _flatten(network, optimizer).items() if owns(key)}
    return {WEIGHTS: weights, OPTIMIZER: {**state, **of_ranks}}


def write_new_checkpoint(
    run: Location,
    state: TrainingState,
    contents: Mapping[str, Bytes],
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> Checkpoint:
    """Write a checkpoint's files, unless `run` has a whole checkpoint of this step; `state.files` is filled in here.

    Args:
        contents: content of the files but `state.json`, by name.
        meanwhile: called beside the writing of these files; `state.json` waits for it.

    Raises:
        StorageError: The storage cannot be written; earlier checkpoints are untouched.
    """
    written = written_checkpoint(run, state.step)
    if written is not None:  # the same step of the same run: the same bytes
        return written
    return write_checkpoint(run, state, contents, meanwhile=meanwhile)


def add_statistics(checkpoint: Checkpoint, statistics: Mapping[str, Tensor]) -> None:
    """Add statistics for readers to a checkpoint; a kill at any instant leaves it whole, with them or without.

    Raises:
        StorageError: The storage cannot be written; the checkpoint is as it was.
    """
    data = safetensors.torch.save(_on_cpu(statistics))
    files = {**checkpoint.state.files, STATISTICS: FileStamp.of(data)}
    checkpoint.location.child(STATISTICS).write_bytes_atomic(data)
    checkpoint.location.child(STATE).write_bytes_atomic(
        checkpoint.state.model_copy(update={"files": files}).to_json()
    )


def load_weights(checkpoint: Checkpoint, encoder: Encoder) -> None:
    """Load a checkpoint's weights, as readers use them, into an encoder of the same architecture.

    Raises:
        CheckpointError: The architecture differs (each differing key is named), or files are missing or damaged.
    """
    check_same_architecture(checkpoint, {"model": encoder.model})
    load_tensors(checkpoint, encoder, weights=checkpoint.weights_for_readers())


def load_tensors(
    checkpoint: Checkpoint,
    network: nn.Module,
    *,
    partly: bool = False,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Load a checkpoint's weights into a network that has the same tensors.

    Args:
        partly: Whether tensors of the network that the checkpoint lacks stay as they are.
        weights: The checkpoint's weights, where they were read before.

    Raises:
        CheckpointError: Tensors differ, which are named, or files are missing or damaged.
    """
    ours = network.state_dict()
    theirs = checkpoint.weights() if weights is None else weights
    weights = {**ours, **theirs} if partly else dict(theirs)
    wrong = [
        f"{name} {_shape(weights.get(name))} where this run has {_shape(ours.get(name))}"
        for name in sorted(ours.keys() | weights.keys())
        if _shape(weights.get(name)) != _shape(ours.get(name))
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        if all(PREDICTORS in line for line in wrong):
            more += ", whose first size is objective.prediction_steps of the module"
        raise CheckpointError(
            f"{checkpoint.location.uri} has other tensors than this run: {'; '.join(wrong[:3])}{more}; "
            "use the config that it was trained with (config.yaml beside the weights)"
        )
    network.load_state_dict(weights)


def load_optimizer(
    checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer, group: RankGroup = ALONE
) -> None:
    """Load a checkpoint's optimizer state, and the buffers that this rank had where there were as many ranks.

    The architecture must have been checked, as `load_tensors` does.

    Args:
        group: the ranks that continue from the checkpoint.
    """
    flat = checkpoint.optimizer()
    of_ranks = {name: flat.pop(name) for name in list(flat) if name.endswith(OF_RANKS)}
    for name, buffer in network.named_buffers():
        rows = of_ranks.get(name + OF_RANKS)
        if rows is not None and rows.shape == (group.size, *buffer.shape):
            buffer.copy_(rows[group.rank])
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


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else "x".join(map(str, tensor.shape)) or "scalar"
