"""The frozen modules of another run on the ranks of the run that is attached to it.

Rank 0 follows the source in a thread. When it has read a newer checkpoint, all ranks learn so at one step boundary
(`vgim.training.agreement`), and rank 0 broadcasts the modules there: a transfer as large as one average of these
modules' gradients, which a run that trained them would make at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from vgim.config import AnyConfig, RunConfig
from vgim.errors import CheckpointError, TrainingError, VgimError
from vgim.model.rank_group import RankGroup
from vgim.model.stack import Encoder
from vgim.runs.metrics import MetricsRecord
from vgim.runs.metrics_writer import Event
from vgim.runs.weights import load_tensors
from vgim.storage import Location
from vgim.text import numbered
from vgim.training.attach import source_of
from vgim.training.progress import Progress
from vgim.training.source import SourceFollower, read_newest

_FAILED = -1
"""What the rank that saves sends instead of a step if it can use no checkpoint of the source."""


def load_source(config: RunConfig, network: nn.Module, group: RankGroup) -> tuple[Progress, list[Event]]:
    """Load the modules of the source's newest checkpoint, the same on all ranks, which must all call it.

    Args:
        network: The encoder; its last module stays as it was drawn.
        group: The ranks that train.

    Returns:
        Progress to start from, and an event that says which checkpoint it is.

    Raises:
        CheckpointError: The source has no checkpoint, or one with other tensors.
    """
    source, found, failure = Location(config.attach.run), None, None
    if group.saves:
        try:
            found = read_newest(source)
            if found is None:
                raise CheckpointError(f"attach.run={source.uri} has no complete checkpoint")
            load_tensors(found.checkpoint, network, partly=True, weights=found.weights)
        except VgimError as error:  # the other ranks wait for an answer
            failure = error
    step = _FAILED if failure is not None or found is None else found.step
    answer = torch.tensor([step], dtype=torch.int64, device=next(network.parameters()).device)
    group.broadcast(answer)
    step = int(answer)
    if failure is not None:
        raise failure
    if step == _FAILED:
        raise TrainingError(f"rank 0 cannot read a checkpoint of {source.uri}; see its error")
    _broadcast(network, config, group)
    last = config.model.num_modules - 1
    message = (
        f"module {last} trains behind {numbered('module', range(last))} of step {step} of {source.uri}; newer "
        "checkpoints of that run replace them"
    )
    return Progress(source_step=step), [Event(message)]


class Attachment:
    """Keeps the first modules of an encoder those of its source's newest checkpoint; all ranks call it alike.

    Without a source it does nothing.

    Args:
        network: The encoder; its last module is trained, the others are replaced.
        group: The ranks that train.
        progress: Where training starts.
    """

    def __init__(self, config: AnyConfig, network: nn.Module, group: RankGroup, progress: Progress) -> None:
        self._config, self._network, self._group = config, network, group
        self._follower: SourceFollower | None = None
        source = source_of(config)
        if source is not None and isinstance(config, RunConfig) and group.saves:
            shapes = {name: tuple(t.shape) for name, t in first_modules(network, config).items()}
            self._follower = SourceFollower(source, progress.source_step or 0, shapes)
            self._follower.start()

    @property
    def ready_step(self) -> int:
        """The wish of this rank at a step boundary: step of a newer checkpoint that is read; 0 for none."""
        return 0 if self._follower is None else self._follower.ready_step

    def follow(self, agreed_step: int, progress: Progress, log: Callable[[Progress, str], None]) -> Progress:
        """Use the checkpoint that all ranks have agreed on, if it is newer than the one in use.

        Args:
            agreed_step: Its step; 0 for none.
            log: Writes an event.

        Returns:
            Progress, with the step of the checkpoint that is used from now on.
        """
        before = progress.source_step
        if self._follower is not None and (trouble := self._follower.new_trouble()) is not None:
            log(
                progress,
                f"{trouble}; training goes on with the modules of its step {before}, and looks again",
            )
        if before is None or agreed_step <= before or not isinstance(self._config, RunConfig):
            return progress
        if self._follower is not None:
            newer = self._follower.take(agreed_step)
            load_tensors(newer.checkpoint, self._network, partly=True, weights=newer.weights)
            age = f"written {self._follower.age_s():.0f} s ago"
            log(
                progress,
                f"{numbered('module', range(self._config.model.num_modules - 1))} are now those of step {agreed_step} "
                f"of {self._config.attach.run}, {age}; before: step {before}",
            )
        _broadcast(self._network, self._config, self._group)
        return replace(progress, source_step=agreed_step)

    def figures(self) -> MetricsRecord:
        """How far the modules in use are behind their source, for a record; empty on other ranks."""
        if self._follower is None:
            return {}
        step, age_s = self._follower.step, self._follower.age_s()
        figures = {"source_step": step, "source_behind_steps": max(0, self._follower.newest_step - step)}
        return figures if age_s is None else {**figures, "source_age_s": round(age_s, 3)}

    def close(self) -> None:
        """Look for no more checkpoints."""
        if self._follower is not None:
            self._follower.close()


def first_modules(network: nn.Module, config: RunConfig) -> dict[str, Tensor]:
    """Parameters and buffers of all modules but the last, by name."""
    last = Encoder.prefix(config.model.num_modules - 1)
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(last)}


def _broadcast(network: nn.Module, config: RunConfig, group: RankGroup) -> None:
    for tensor in first_modules(network, config).values():
        group.broadcast(tensor)
