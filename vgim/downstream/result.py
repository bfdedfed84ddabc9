"""The result of a probe, which is the content of its `result.json`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vgim.config import RunConfig
from vgim.downstream.options import (
    SUPERVISED_EPOCHS,
    EncoderKind,
    ProbeOptions,
    ResultModel,
    unusual_features,
    unusual_options,
)
from vgim.downstream.output import Output
from vgim.downstream.probes.registry import AnyTask, ExampleUnit
from vgim.runs.provenance import Provenance

PICTURE = "confusion.png"
"""Picture of the confusion matrix, beside the result."""

Share = Annotated[float, Field(ge=0, le=1)]


class Interval(ResultModel):
    """Ends of a 95 % interval."""

    low: float
    high: float


class SeedResult(ResultModel):
    """The fit of one seed."""

    seed: int
    accuracy: float
    """Accuracy on the test split."""
    validation_loss: float | None = None
    """Mean cross-entropy in nats; None where no classifier is fitted."""
    l2: float | None = None
    """Penalty that the lbfgs solver chose."""
    epochs: int | None = None
    """Epochs of the adam solver."""


class ProbeResult(Provenance):
    """One encoder, output and task; docs/probes.md explains the fields."""

    schema_version: Literal[1] = 1
    task: AnyTask
    encoder: EncoderKind
    layer: int | None = None
    """Convolution of the module; None for the module's output."""
    concat: tuple[int, ...] = ()
    """Modules whose outputs were concatenated; empty for one output."""
    num_features: int
    accuracy: Share
    """Share of correctly classified test examples, mean over seeds."""
    interval_over_utterances: Interval
    """Interval of the accuracy on other utterances of the same kind."""
    interval_over_seeds: Interval | None
    """Interval of the mean over seeds; None for one seed."""
    majority: Share
    """Accuracy of always predicting the most frequent class of the train split; chance where nothing is fitted."""
    chance: Share
    """One over the number of classes."""
    per_class: dict[str, float | None]
    """Accuracy of each class; None for a class that is not in the test split."""
    unit: ExampleUnit
    """Whether an example is a frame of 10 ms, an utterance, or a triple of phones' tokens."""
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
    """Test utterances whose audio the encoder was trained on; None if that is unknown."""
    batch_norm_clips: int
    """Training clips that gave a random encoder's BatchNorm its statistics; 0 for other encoders."""
    label_epochs: tuple[int, ...] = ()
    """Epochs that a supervised encoder was trained on the labels, for each seed; empty for other encoders."""
    fits: tuple[SeedResult, ...]
    features_sha256: str = ""
    """Hash of all that makes the features, where no classifier is kept that has it; of the first seed."""
    deviations: tuple[str, ...] = ()
    """Words for given options that differ from those of the protocol and the task."""
    notes: tuple[str, ...]
    options: ProbeOptions
    run_config: RunConfig

    @property
    def output(self) -> Output:
        """What the features were read from."""
        return Output(self.module, self.layer, self.concat)

    @property
    def is_fitted(self) -> bool:
        """Whether a classifier was fitted; else features were compared as they are."""
        return self.unit != "triple"

    @property
    def guess(self) -> str:
        """Name of the level `majority`, for charts and tables."""
        return "majority" if self.is_fitted else "chance"


def folder_name(result: ProbeResult) -> str:
    """Name of the result's folder under RUN/probes, different for all results that can be compared."""
    options = result.options
    parts: list[str] = [result.task, result.encoder]
    if result.module is not None:
        parts.append(f"module{result.module}")
        parts += [f"layer{result.layer}"] * (result.layer is not None)
    parts += [f"concat{'_'.join(map(str, result.concat))}"] * bool(result.concat)
    if result.module is not None or result.concat:
        parts += unusual_features(options)
    if result.encoder == "trained" and options.checkpoint != "last":
        parts.append(f"step{result.step}" if options.checkpoint == "named" else options.checkpoint)
    if result.label_epochs and options.supervised_epochs != SUPERVISED_EPOCHS:
        parts.append(f"epochs{options.supervised_epochs}")
    parts += [*unusual_options(options, result.data_fingerprint, result.labels), *result.deviations]
    return "-".join(parts)
