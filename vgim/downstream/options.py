"""Options of probes: everything that shapes a probe's numbers, beside the run and the shards."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vgim.downstream.probes.registry import TASKS, AnyTask
from vgim.pretrained.choices import CheckpointChoice, Device

EncoderKind = Literal["trained", "random", "mfcc", "supervised", "greedy-supervised"]
SupervisedKind = Literal["supervised", "greedy-supervised"]
Solver = Literal["lbfgs", "adam"]
Protocol = Literal["ours", "published"]

SUPERVISED_EPOCHS = 40


class ResultModel(BaseModel):
    """Base of the records that results hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class ProbeOptions(ResultModel):
    """Options of `vgim probe`."""

    task: AnyTask
    """A probe's name, or a column of `labels`."""
    labels: str | None = None
    """A table with labels of one's own, in the column that the task names."""
    encoders: tuple[EncoderKind, ...] = Field(("trained",), min_length=1)
    module: int | None = -1
    """Module, counted from the input, negative from the last; None for all modules."""
    layer: int | None = None
    """Convolution of the module, negative from its last; None for the module's output."""
    all_layers: bool = False
    """Read every convolution of the modules, and their outputs."""
    concat: bool | tuple[int, ...] = False
    """Read the concatenated outputs of all modules too, or of these."""
    checkpoint: CheckpointChoice = "last"
    protocol: Protocol = "ours"
    """Values of the solver, its training, `sampled` and `bias` where they are not given."""
    solver: Solver = "lbfgs"
    epochs: int | None = Field(None, ge=1)
    """adam: epochs over the examples; None for those of the protocol and the task."""
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    """adam: learning rate; None for that of the protocol and the task."""
    batch_size: int | None = Field(None, ge=0)
    """adam: examples in a step, 0 for one utterance a step; None for the protocol's and the task's."""
    clip_norm: float = Field(0.0, ge=0, allow_inf_nan=False)
    """adam: largest norm of the gradient; 0 does not clip."""
    seeds: int = Field(1, ge=1)
    """Number of fits with different seeds."""
    sampled: bool = False
    """Use samples of the posterior as features, not its mean."""
    whole_utterances: bool = False
    """Encode whole utterances where the task would take crops."""
    bias: bool = True
    """Whether the linear classifier has a bias."""
    shards: str | None = None
    """Shards to probe on; None for those that the run was trained on."""
    max_utterances: int = Field(0, ge=0)
    """Training utterances at most; 0 for all."""
    patience: int = Field(0, ge=0)
    """adam: epochs without a lower validation loss after which training ends; 0 trains all epochs."""
    supervised_epochs: int = Field(SUPERVISED_EPOCHS, ge=1)
    """Epochs over the train split that a supervised encoder is trained at most."""
    cache_features: bool = False
    """Keep features in RUN/features, and read features that are kept there."""
    device: Device = "auto"

    @model_validator(mode="after")
    def _labels_are_for_own_tasks(self) -> Self:
        if self.labels is None and self.task not in TASKS:
            raise ValueError(
                f"task={self.task} is not a probe; use {', '.join(TASKS)}, or labels=TABLE with such a column"
            )
        if self.labels is not None and self.task in TASKS:
            raise ValueError(
                f"labels have no effect on task={self.task}, which reads the shards'; leave them out"
            )
        return self


def unusual_options(options: ProbeOptions, data_fingerprint: str, labels: str) -> list[str]:
    """Words for options that are not the default: other shards, own labels, fewer utterances, no bias, the protocol.

    Args:
        labels: Hash of labels that are not in the shards.
    """
    words = [] if options.shards is None else [f"data{data_fingerprint[:8]}"]
    words += [] if options.labels is None else [f"labels{labels[:8]}"]
    words += [f"first{options.max_utterances}"] * bool(options.max_utterances)
    words += ["whole"] * options.whole_utterances
    published = options.protocol == "published"
    words += ["nobias"] * (not options.bias and not published)
    words += ["published"] * published
    words += [options.solver] * (options.solver != "lbfgs" and not published)
    return words


def unusual_features(options: ProbeOptions) -> list[str]:
    """A word for samples of the posterior, unless the protocol decided on them."""
    return ["sampled"] * (options.sampled and options.protocol == "ours")
