"""What a probe is asked (`ProbeOptions`) and what it leaves (`result.json`, a `ProbeResult`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vgim.config import RunConfig
from vgim.downstream.probes.probe import ExampleUnit
from vgim.downstream.probes.registry import Task
from vgim.pretrained.choices import CheckpointChoice, Device
from vgim.runs.provenance import Provenance
from vgim.text import align_columns

EncoderKind = Literal["trained", "random", "mfcc", "supervised", "greedy-supervised"]
SupervisedKind = Literal["supervised", "greedy-supervised"]
Solver = Literal["lbfgs", "adam"]


SUPERVISED_EPOCHS = 40


class ResultModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ProbeOptions(ResultModel):
    """Everything that shapes the numbers of a probe, beside the run and the shards."""

    task: Task
    encoders: tuple[EncoderKind, ...] = ("trained",)
    module: int | None = -1
    """Counted from the input, negative from the last; None for all modules."""
    layer: int | None = None
    """One of the module's convolutions, negative from its last; None for its output."""
    all_layers: bool = False
    """Every convolution of the modules, and their outputs."""
    checkpoint: CheckpointChoice = "last"
    solver: Solver = "lbfgs"
    seeds: int = Field(1, ge=1)
    sampled: bool = False
    """Features are samples of the posterior, not its mean."""
    whole_utterances: bool = False
    """Speaker: encode whole utterances, not crops."""
    bias: bool = True
    shards: str | None = None
    """Probe on other shards than the run was trained on."""
    max_utterances: int = Field(0, ge=0)
    """Training utterances at most; 0 for all."""
    patience: int = Field(0, ge=0)
    """adam: epochs without a lower validation loss after which it stops; 0 trains them all."""
    supervised_epochs: int = Field(SUPERVISED_EPOCHS, ge=1)
    """Epochs over the train split that a supervised encoder is trained at most."""
    cache_features: bool = False
    """Keep features in RUN/features, and read those that are kept."""
    device: Device = "auto"


class Interval(ResultModel):
    """Ends of a 95 % interval."""

    low: float
    high: float


class SeedResult(ResultModel):
    """One fit."""

    seed: int
    accuracy: float
    """On the test split."""
    validation_loss: float
    l2: float | None = None
    epochs: int | None = None


class ProbeResult(Provenance):
    """See docs/probes.md."""

    schema_version: Literal[1] = 1
    task: Task
    encoder: EncoderKind
    layer: int | None = None
    """Which of the module's convolutions; None for the module's output."""
    num_features: int
    accuracy: float
    """Share of right test examples, mean over seeds."""
    interval_over_utterances: Interval
    """For other utterances of the same kind."""
    interval_over_seeds: Interval | None
    """Of the mean over seeds; None for one seed."""
    majority: float
    """Accuracy of always naming the most frequent class of the train split."""
    chance: float
    """One over the number of classes."""
    per_class: dict[str, float | None]
    """Accuracy of each class; None for one that is not in the test split."""
    unit: ExampleUnit
    """What an example is."""
    num_train: int
    num_validation: int
    num_test: int
    """Examples of each split."""
    num_train_utterances: int
    num_validation_utterances: int
    num_test_utterances: int
    num_left_out: int
    """Utterances of the three splits that were too short or had no label."""
    test_utterances_seen: int | None
    """Test utterances whose audio the encoder was trained on; None where that cannot be told."""
    batch_norm_clips: int
    """Training clips that gave a random encoder's BatchNorm its statistics; 0 for others."""
    label_epochs: tuple[int, ...] = ()
    """Epochs that a supervised encoder was trained on the labels, for each seed; empty for others."""
    fits: tuple[SeedResult, ...]
    notes: tuple[str, ...]
    options: ProbeOptions
    run_config: RunConfig


def folder_name(result: ProbeResult) -> str:
    """Name of the result's folder under RUN/probes: one for each combination that can be compared."""
    options = result.options
    parts: list[str] = [result.task, result.encoder]
    if result.module is not None:
        parts.append(f"module{result.module}")
        parts += [f"layer{result.layer}"] * (result.layer is not None)
        parts += ["sampled"] * options.sampled
    if result.encoder == "trained" and options.checkpoint != "last":
        parts.append(f"step{result.step}" if options.checkpoint == "named" else options.checkpoint)
    if result.label_epochs and options.supervised_epochs != SUPERVISED_EPOCHS:
        parts.append(f"epochs{options.supervised_epochs}")
    parts += unusual_options(options, result.data_fingerprint)
    parts += [options.solver] * (options.solver != "lbfgs")
    return "-".join(parts)


def unusual_options(options: ProbeOptions, data_fingerprint: str) -> list[str]:
    """Parts of a folder's name for what was not the default: which data, and how the classifier looks at it."""
    parts = [] if options.shards is None else [f"data{data_fingerprint[:8]}"]
    parts += [f"first{options.max_utterances}"] * bool(options.max_utterances)
    parts += ["whole"] * options.whole_utterances
    parts += ["nobias"] * (not options.bias)
    return parts


def format_table(results: Sequence[ProbeResult]) -> str:
    """The results as a table for a terminal."""
    rows = [
        (
            "encoder",
            "step",
            "module",
            "accuracy",
            "95 % utterances",
            "95 % seeds",
            "majority",
            "train",
            "test",
        )
    ]
    for result in results:
        seeds = result.interval_over_seeds
        rows.append(
            (
                result.encoder,
                "-" if result.step is None else f"{result.step:,}",
                output_name(result.module, result.layer).removeprefix("module ") or "-",
                f"{result.accuracy:.1%}",
                in_percent(result.interval_over_utterances),
                in_percent(seeds) if seeds else "-",
                f"{result.majority:.1%}",
                f"{result.num_train:,}",
                f"{result.num_test:,}",
            )
        )
    return align_columns(rows, num_left=1)


def output_name(module: int | None, layer: int | None) -> str:
    """`module 1` or `module 1 layer 0`; nothing for features of no encoder."""
    if module is None:
        return ""
    return f"module {module}" if layer is None else f"module {module} layer {layer}"


def in_percent(interval: Interval) -> str:
    """`41.2 to 45.0`."""
    return f"{100 * interval.low:.1f} to {100 * interval.high:.1f}"
