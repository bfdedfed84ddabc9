"""What the loop trains: a `Learner`, made on every rank from the job's config.

The loop owns the order of things (phases, batches, validation, checkpoints, records); a learner owns the numbers.
The greedy encoder is one learner, its decoders are another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from vgim.config import DecoderConfig, RunConfig
from vgim.data.shards.manifest import Manifest
from vgim.data.stream.readers import Reader
from vgim.model.rank_group import RankGroup
from vgim.runs.metrics import MetricsRecord
from vgim.runs.metrics_writer import MetricsWriter
from vgim.schedules.schedule import Phase
from vgim.storage import Location
from vgim.train.prefetch import DeviceBatch, Prefetcher
from vgim.train.progress import Progress
from vgim.train.validate import Validation

ConfigT = TypeVar("ConfigT", RunConfig, DecoderConfig, contravariant=True)
ToAudio = Callable[[DeviceBatch], Tensor]


@dataclass(frozen=True)
class Worker:
    """Who trains it: this rank's place among the others and its way to the outside."""

    group: RankGroup
    """The ranks that train the run, as this one sees them."""
    device: torch.device
    reader: Reader
    report: Callable[[dict[str, float], Location], None]
    """Called by all ranks after each checkpoint with its figures and place."""
    observe: Callable[[str, MetricsRecord], None] = lambda kind, record: None
    """Called on rank 0 with each `train` and `validation` record, and the step of each `checkpoint`."""

    @property
    def device_name(self) -> str:
        """What steps are taken on, for records: `cpu`, or a GPU's name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type


@dataclass(frozen=True)
class LearnerContext:
    """What a learner is made in, beside its config."""

    run: Location
    """The run's folder."""
    worker: Worker
    manifest: Manifest
    """Of the shards."""


class Learner(Protocol):
    """Something to train. Randomness comes from (seed, …, step, rank), so that it needs no state of its own."""

    optimizer: torch.optim.Optimizer
    """Over all parameters of `network`, in their order; the loop sets its learning rate."""
    averaged: tuple[str, ...]
    """Figures of `step` that a record holds as means over the steps since the last one."""
    latest: tuple[str, ...]
    """Those it holds as they were at the last step."""

    @property
    def network(self) -> nn.Module:
        """On the worker's device. Its parameters and buffers are what a checkpoint holds."""

    @property
    def headline(self) -> Sequence[str]:
        """TensorBoard tags to show beside the hyperparameters."""

    def begin(self, phase: Phase, progress: Progress, group: RankGroup) -> None:
        """Prepare for the steps of a phase.

        Args:
            phase: its modules are those that this rank trains.
            progress: where the phase starts or continues.
            group: the ranks that train these modules together.
        """

    def step(
        self, audio: Sequence[Tensor], progress: Progress, *, measure: bool
    ) -> Sequence[Mapping[str, Tensor]]:
        """One optimizer step on micro-batches of audio [B, L], normalized.

        Returns:
            Figures, scalars on the device, of each module of the phase; those that only a record needs may be
            missing numbers unless `measure`.

        Raises:
            NotFiniteError: on all ranks, before the optimizer used what is not finite.
        """

    def settings(self, progress: Progress) -> dict[str, float]:
        """Numbers that records hold beside the figures and that the steps at a place are taken with."""

    def watch(self, record: MetricsRecord, progress: Progress, say: Callable[[str], None]) -> None:
        """Look at a record on all ranks alike; may say something, or end the run with a VgimError."""

    def validate(
        self,
        phase: Phase,
        progress: Progress,
        batches: Prefetcher,
        to_audio: ToAudio,
        writer: MetricsWriter | None,
    ) -> Validation:
        """Figures over the validation split; on the rank that has a writer, pictures of its first batch too."""


class LearnerFactory(Protocol[ConfigT]):
    """Builds a learner from the config that it understands; picklable, since workers call it."""

    def __call__(self, config: ConfigT, context: LearnerContext, /) -> Learner:
        """Build the learner on one rank."""
