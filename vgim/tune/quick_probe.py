"""A small linear probe in the middle of training, by which trials are compared where losses cannot be.

It fits on the first utterances of the train split and is scored on the first of validation. The test split is not
looked at, so that `vgim probe` of the trial that won still says something.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from vgim.data.pcm import Pcm16
from vgim.data.shards.read import Utterance, read_utterances
from vgim.data.stream.crops import first_crop
from vgim.downstream.context import open_probe_context
from vgim.downstream.features.encoders import feature_source
from vgim.downstream.features.examples import gather, whole
from vgim.downstream.result import ProbeOptions
from vgim.downstream.scores import score
from vgim.downstream.solvers import fit_lbfgs
from vgim.jsonl import add_line, read_lines
from vgim.runs.checkpoint import Checkpoint
from vgim.storage import Location
from vgim.tune.config import MetricConfig

FILE = "quick_probe.jsonl"


class QuickProbe(BaseModel):
    """A line of `quick_probe.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    epoch: int
    module: int
    task: str
    max_utterances: int
    accuracy: float
    """Share of right examples of the validation split."""
    chance: float
    """One over the number of classes."""


def probe_checkpoint(checkpoint: Checkpoint, metric: MetricConfig) -> QuickProbe:
    """Fit and score the probe on a checkpoint's features.

    Raises:
        VgimError: the shards do not fit the task, or the checkpoint was deleted meanwhile.
    """
    options = ProbeOptions(
        task=metric.task, module=metric.module, max_utterances=metric.max_utterances, device="cpu"
    )
    setting = open_probe_context(checkpoint.location.uri, options)
    source, _ = feature_source(setting, "trained", 0)

    def crop(utterance: Utterance) -> Pcm16 | None:
        return first_crop(utterance.audio, setting.opened.config.data)

    train, held = (
        gather(
            source,
            setting.task,
            read_utterances(setting.opened.shards, setting.opened.manifest, split, metric.max_utterances),
            crop if setting.task.uses_crops else whole,
            split,
        )[0]
        for split in ("train", "validation")
    )
    num_classes = len(setting.task.classes)
    fitted = fit_lbfgs(
        train.examples(setting.opened.device), held.examples(setting.opened.device), num_classes
    )
    scores = score(fitted.predict(held.x_NC), held.y_N, held.owner_N, num_classes)
    return QuickProbe(
        step=checkpoint.state.step,
        epoch=checkpoint.state.epoch,
        module=metric.module % setting.opened.config.model.num_modules,
        task=metric.task,
        max_utterances=metric.max_utterances,
        accuracy=scores.accuracy,
        chance=1 / num_classes,
    )


def read_probes(run: Location, metric: MetricConfig) -> Iterator[QuickProbe]:
    """The quick probes of a run that answer to a metric, oldest first."""
    for probe in read_lines(run.child(FILE), QuickProbe):
        if (probe.task, probe.max_utterances) == (metric.task, metric.max_utterances):
            yield probe


def add_probe(run: Location, probe: QuickProbe) -> None:
    """Note a probe in its run's folder."""
    add_line(run.child(FILE), probe)
