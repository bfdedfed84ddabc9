"""A small linear probe during training, as a metric for trials whose losses do not compare.

It is fitted on the first utterances of the train split and scored on the first of the validation split. The test split
is not used, so that `vgim probe` of the best trial stays unbiased.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from vgim.downstream.result import Interval
from vgim.jsonl import append_record, read_records
from vgim.runs.checkpoint import Checkpoint
from vgim.storage import Location
from vgim.tune.config import MetricConfig

FILE = "quick_probe.jsonl"


class QuickProbe(BaseModel):
    """A line of `quick_probe.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    step: int
    epoch: int
    module: int
    task: str
    max_utterances: int
    accuracy: float
    """Share of examples of the validation split that are classified correctly."""
    chance: float
    """One over the number of classes."""
    majority: float | None = None
    """Accuracy of always guessing the most frequent class of the train split; None in files of an earlier version."""
    interval: Interval | None = None
    """95 % interval over utterances; None in lines of older versions."""


def probe_checkpoint(
    checkpoint: Checkpoint, metric: MetricConfig, encoder: Literal["trained", "random", "mfcc"] = "trained"
) -> QuickProbe:
    """Fit and score the probe on a checkpoint's features, or on a baseline's for the same utterances, on the CPU.

    Raises:
        VgimError: the shards lack the task's labels, or training has deleted the checkpoint.
    """
    # Here, because readers of a sweep's results import this file, and these import torch.
    from vgim.data.shards.read import read_utterances
    from vgim.downstream.context import open_probe_context
    from vgim.downstream.encoders.kinds import feature_source
    from vgim.downstream.features.examples import collect_examples
    from vgim.downstream.intervals import interval_over_utterances
    from vgim.downstream.options import ProbeOptions
    from vgim.downstream.scores import score
    from vgim.downstream.solvers import fit_lbfgs

    options = ProbeOptions(
        task=metric.task, module=metric.module, max_utterances=metric.max_utterances, device="cpu"
    )
    context = open_probe_context(checkpoint.location.uri, options)
    run = context.opened
    source, _ = feature_source(context, encoder, 0)

    train, validation = (
        collect_examples(
            source,
            context.task,
            read_utterances(run.shards, run.manifest, split, metric.max_utterances),
            context.clip,
            split,
        )[0]
        for split in ("train", "validation")
    )
    num_classes = len(context.task.classes)
    fitted = fit_lbfgs(train.examples(run.device), validation.examples(run.device), num_classes)
    scores = score(fitted.predict(validation.x_NC), validation.y_N, validation.owner_N, num_classes)
    low, high = interval_over_utterances(scores.correct_U.astype("float64"), scores.count_U)
    return QuickProbe(
        step=checkpoint.state.step,
        epoch=checkpoint.state.epoch,
        module=metric.module % run.config.model.num_modules,
        task=metric.task,
        max_utterances=metric.max_utterances,
        accuracy=scores.accuracy,
        chance=1 / num_classes,
        majority=float((validation.y_N == train.y_N.bincount().argmax()).double().mean()),
        interval=Interval(low=low, high=high),
    )


def read_quick_probes(run: Location, metric: MetricConfig) -> Iterator[QuickProbe]:
    """The quick probes of a run with the metric's task and number of utterances, oldest first."""
    for probe in read_records(run.child(FILE), QuickProbe):
        if (probe.task, probe.max_utterances) == (metric.task, metric.max_utterances):
            yield probe


def add_quick_probe(run: Location, probe: QuickProbe) -> None:
    """Append a probe to the run's `quick_probe.jsonl`."""
    append_record(run.child(FILE), probe)
