"""What the loop trains: a `Learner`, built on every rank from the job's config.

The loop owns the order of things: phases, batches, validation, checkpoints, records. A learner owns the
computation. The greedy encoder is one learner, its decoder another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from vgim.training.prefetch import RankedBatch
from vgim.training.progress import Progress
from vgim.training.share import Share
from vgim.training.stages.link import StageLink
from vgim.training.validate import Validation

ConfigT = TypeVar("ConfigT", RunConfig, DecoderConfig, contravariant=True)


@dataclass(frozen=True)
class Worker:
    """One rank's process: its group, its device, its reader, and whom it informs."""

    group: RankGroup
    """The ranks that train the run, as this rank sees them."""
    device: torch.device
    reader: Reader
    on_checkpoint: Callable[[dict[str, float], Location], None]
    """Called on all ranks after each checkpoint, with its metrics and its folder."""
    on_record: Callable[[str, MetricsRecord], None] = lambda kind, record: None
    """Called on the rank that saves, with each `train` and `validation` record, and the step of each `checkpoint`."""
    on_step: Callable[[int], object] = lambda step: None
    """Called on every rank after each optimizer step, with the steps that the run has taken."""
    stop_asked: Callable[[], int] = lambda: 0
    """Called on the rank that saves, between two steps: the signal for which the training is to stop, or 0."""
    notice: Callable[[], str] = lambda: ""
    """Called on the rank that saves, between two steps: a sentence on why a checkpoint must be written now; empty if it
    need not be."""
    placement: str = ""
    """Where the ranks run and on which devices, as a sentence for the run's log; empty for none."""

    @property
    def device_name(self) -> str:
        """Name of the device for records: `cpu`, or the GPU's name."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type


@dataclass(frozen=True)
class LearnerContext:
    """What a learner is built in, beside its config."""

    run: Location
    """The run's folder."""
    worker: Worker
    manifest: Manifest
    """Manifest of the shards."""


class Learner(Protocol):
    """Something to train. All randomness comes from (seed, …, step, virtual rank), so that none of it is state."""

    optimizer: torch.optim.Optimizer
    """Optimizer of all parameters of `network`, in their order; the loop sets its learning rate."""
    mean_metrics: tuple[str, ...]
    """Metrics of `step` of which a record holds the mean over its steps."""
    latest_metrics: tuple[str, ...]
    """Metrics of `step` of which a record holds the value at the last step. Only then are they measured."""

    @property
    def network(self) -> nn.Module:
        """The network, on the worker's device. A checkpoint holds its parameters and buffers."""

    @property
    def kl_weights(self) -> tuple[float, ...]:
        """Weight of each module's KL term at the next step, if training adapts it; else empty."""

    @property
    def hparams_metrics(self) -> Sequence[str]:
        """TensorBoard tags to show beside the hyperparameters."""

    def warnings(self) -> Sequence[str]:
        """Sentences for the log of a run that starts, about values of its config that may do harm."""

    def slowed_by(self, device: torch.device) -> Sequence[str]:
        """Sentences for the log of every launch, about what `device` or its machine computes slowly."""

    def begin_phase(
        self, phase: Phase, progress: Progress, share: Share, link: StageLink | None = None
    ) -> None:
        """Prepare for the steps of a phase.

        Args:
            phase: its modules are the modules that this rank trains.
            progress: where the phase starts or continues.
            share: this rank's part of the work, among the ranks that train these modules together.
            link: the stages before and behind, under a schedule that has stages.
        """

    def step(
        self, audio: Sequence[Tensor], progress: Progress, *, measure: bool
    ) -> Sequence[Mapping[str, Tensor]]:
        """Take one optimizer step on micro-batches of normalized audio [B, L], or of a stage's input [B, T, C].

        Args:
            audio: `train.accumulate` micro-batches for each virtual rank of the share, in their order. Each is asked
                for once.
            measure: whether a record is due. If not, `latest_metrics` may be NaN.

        Returns:
            Metrics of each module of the phase, scalars on the device.

        Raises:
            NotFiniteError: a gradient is not finite. All ranks raise it, before the optimizer uses the gradient.
        """

    def step_hyperparameters(self, progress: Progress) -> dict[str, float]:
        """Hyperparameters of the step at `progress` that change from step to step, for its record."""

    def check_record(self, record: MetricsRecord, progress: Progress, log: Callable[[str], None]) -> None:
        """Look at a `train` record, on all ranks alike; may log a sentence, or end the run with a VgimError."""

    def validate(
        self,
        phase: Phase,
        progress: Progress,
        batches: Iterable[RankedBatch],
        writer: MetricsWriter | None,
    ) -> Validation:
        """Evaluate the phase's modules on the validation split.

        Args:
            batches: batches of this rank's virtual ranks.
            writer: receives sounds and pictures of the first batch, if the learner makes some; None on the ranks that
                write nothing.
        """


class LearnerFactory(Protocol[ConfigT]):
    """Builds a learner from a config of its kind; picklable, since workers call it."""

    def __call__(self, config: ConfigT, context: LearnerContext, /) -> Learner:
        """Build the learner on one rank."""
