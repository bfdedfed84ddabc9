"""From the fits of all seeds to one result.

Shapes: K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from vgim.arrays import I64
from vgim.downstream.context import ProbeContext
from vgim.downstream.features.encoders import Preparation
from vgim.downstream.features.examples import Gathered
from vgim.downstream.features.features import View
from vgim.downstream.leakage import count_seen
from vgim.downstream.result import EncoderKind, Interval, ProbeResult, SeedResult
from vgim.downstream.scores import Scores, over_seeds, over_utterances, per_class
from vgim.downstream.solvers import Fitted
from vgim.runs.provenance import collect_provenance

SAW_LABELS = (
    "this encoder was trained on the labels of the train split that the probe learns from, and chosen on the "
    "validation split's; it is no measure of what is learned without labels"
)


class Fit(NamedTuple):
    """One seed's classifier and how it did on the test split."""

    seed: int
    fitted: Fitted
    scores: Scores


class Splits(NamedTuple):
    """The examples of one view."""

    train: Gathered
    validation: Gathered
    test: Gathered


def summarize(
    setting: ProbeContext,
    kind: EncoderKind,
    view: View,
    splits: Splits,
    fits: list[Fit],
    *,
    prepared: list[Preparation],
    notes: list[str],
) -> tuple[ProbeResult, I64]:
    """The result, and the confusion matrix [K, K] summed over seeds (rows are true classes)."""
    classes, scores = setting.task.classes, [fit.scores for fit in fits]
    accuracies = [s.accuracy for s in scores]
    confusion_KK = np.sum([s.confusion_KK for s in scores], axis=0)
    correct_U = np.mean([s.correct_U for s in scores], axis=0)
    counts_K, test_K = (torch.bincount(g.y_N, minlength=len(classes)) for g in (splits.train, splits.test))
    if untaught := int(((counts_K == 0) & (test_K > 0)).sum()):
        notes = [*notes, f"classes of the test split that are not in the train split: {untaught}"]
    label_epochs = tuple(made.label_epochs for made in prepared if made.label_epochs)
    if label_epochs:
        notes = [*notes, SAW_LABELS]
    checkpoint = setting.opened.encoder.checkpoint if kind == "trained" else None
    seen: int | None = 0
    if checkpoint is not None:
        trained_on = checkpoint.state.data_fingerprint
        seen = count_seen(setting.opened.config, trained_on, setting.opened.shards, setting.opened.manifest)
    result = ProbeResult(
        **dict(collect_provenance(checkpoint, view.module, setting.opened.shards, setting.opened.manifest)),
        task=setting.options.task,
        encoder=kind,
        layer=view.layer,
        num_features=view.channels,
        accuracy=float(np.mean(accuracies)),
        interval_over_utterances=_interval(over_utterances(correct_U, scores[0].count_U)),
        interval_over_seeds=_interval(seeds) if (seeds := over_seeds(accuracies)) else None,
        majority=int(test_K[counts_K.argmax()]) / len(splits.test.y_N),
        chance=1 / len(classes),
        per_class=dict(zip(classes, per_class(confusion_KK), strict=True)),
        unit=setting.task.unit,
        num_train=len(splits.train.y_N),
        num_validation=len(splits.validation.y_N),
        num_test=len(splits.test.y_N),
        num_train_utterances=splits.train.num_utterances,
        num_validation_utterances=splits.validation.num_utterances,
        num_test_utterances=splits.test.num_utterances,
        num_left_out=sum(split.num_left_out for split in splits),
        test_utterances_seen=seen,
        batch_norm_clips=prepared[-1].batch_norm_clips,
        label_epochs=label_epochs,
        fits=tuple(_of_seed(fit) for fit in fits),
        notes=tuple(notes),
        options=setting.options,
        run_config=setting.opened.config,
    )
    return result, confusion_KK


def _of_seed(fit: Fit) -> SeedResult:
    return SeedResult(
        seed=fit.seed,
        accuracy=fit.scores.accuracy,
        validation_loss=fit.fitted.validation_loss,
        l2=fit.fitted.l2,
        epochs=fit.fitted.epochs,
    )


def _interval(ends: tuple[float, float]) -> Interval:
    return Interval(low=ends[0], high=ends[1])
