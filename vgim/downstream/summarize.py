"""From the fits of all seeds to one result.

Shapes: K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vgim.arrays import I64
from vgim.downstream.context import ProbeContext
from vgim.downstream.encoders.kinds import EncoderPreparation
from vgim.downstream.features.source import FeatureSpec
from vgim.downstream.fit import SeedFit, Splits
from vgim.downstream.intervals import interval_over_seeds, interval_over_utterances, note_on_few_clusters
from vgim.downstream.leakage import count_seen
from vgim.downstream.optimum import MAX_ITERATIONS
from vgim.downstream.options import EncoderKind
from vgim.downstream.predictions import clusters_of, sum_by
from vgim.downstream.result import Interval, ProbeResult, SeedResult
from vgim.downstream.scores import per_class
from vgim.runs.provenance import collect_provenance
from vgim.text import plural

SAW_LABELS = (
    "this encoder was trained on the labels of the train split that the probe learns from, and chosen on the "
    "validation split's; it is no measure of what is learned without labels"
)

NOT_CONVERGED = f"lbfgs ended after {MAX_ITERATIONS} iterations, before its optimum"


def summarize(
    context: ProbeContext,
    kind: EncoderKind,
    spec: FeatureSpec,
    splits: Splits,
    fits: list[SeedFit],
    *,
    preparations: list[EncoderPreparation],
    notes: list[str],
) -> tuple[ProbeResult, I64]:
    """Average the scores of all seeds.

    Args:
        splits: Examples of the last seed; their numbers are the same for every seed.
        preparations: How the encoder was made, for each seed that drew one.
        notes: Notes of the whole probe; those of the result are added to a copy.

    Returns:
        The result, and the confusion matrix [K, K] summed over seeds (rows are true classes).
    """
    classes = context.task.classes
    scores = [fit.scores for fit in fits]
    accuracies = [s.accuracy for s in scores]
    confusion_KK = np.sum([s.confusion_KK for s in scores], axis=0)
    correct_U = np.mean([s.correct_U for s in scores], axis=0)
    train_K, test_K = (torch.bincount(s.y_N, minlength=len(classes)) for s in (splits.train, splits.test))
    if num_unknown := int(((train_K == 0) & (test_K > 0)).sum()):
        notes = [*notes, f"classes of the test split that are not in the train split: {num_unknown}"]
    if not all(fit.fitted.converged for fit in fits):
        notes = [*notes, NOT_CONVERGED]
    count_U, what = scores[0].count_U, "utterance"
    if (clusters := clusters_of(context.task, splits.test.utterance_ids)) is not None:
        correct_U, count_U, what = sum_by(clusters, correct_U), sum_by(clusters, count_U), "speaker"
        num_speakers = plural(len(count_U), "speaker")
        over = f"speakers have one {context.options.task} each, so that the interval is over the {num_speakers} of test"
        notes = [*notes, over]
    if (few := note_on_few_clusters(count_U, what)) is not None:
        notes = [*notes, few]
    seeds_interval = interval_over_seeds(accuracies)
    result = ProbeResult(
        **facts_of(context, kind, spec, preparations, notes),
        accuracy=float(np.mean(accuracies)),
        interval_over_utterances=_interval(interval_over_utterances(correct_U, count_U)),
        interval_over_seeds=None if seeds_interval is None else _interval(seeds_interval),
        majority=int(test_K[train_K.argmax()]) / len(splits.test.y_N),
        chance=1 / len(classes),
        per_class=dict(zip(classes, per_class(confusion_KK), strict=True)),
        num_train=len(splits.train.y_N),
        num_validation=len(splits.validation.y_N),
        num_test=len(splits.test.y_N),
        num_train_utterances=splits.train.num_utterances,
        num_validation_utterances=splits.validation.num_utterances,
        num_test_utterances=splits.test.num_utterances,
        num_left_out=sum(split.num_left_out for split in splits),
        fits=tuple(_seed_result(fit) for fit in fits),
    )
    return result, confusion_KK


def facts_of(
    context: ProbeContext,
    kind: EncoderKind,
    spec: FeatureSpec,
    preparations: Sequence[EncoderPreparation],
    notes: Sequence[str],
) -> dict[str, Any]:
    """The fields of a result that say what was measured, with which weights, on which data."""
    opened = context.opened
    checkpoint = opened.encoder.checkpoint if kind == "trained" else None
    num_seen: int | None = 0
    if checkpoint is not None:
        num_seen = count_seen(
            opened.config, checkpoint.state.data_fingerprint, opened.shards, opened.manifest
        )
    label_epochs = tuple(p.label_epochs for p in preparations if p.label_epochs)
    return {
        **dict(
            collect_provenance(checkpoint, spec.module, opened.shards, opened.manifest, context.labels_digest)
        ),
        "task": context.options.task,
        "encoder": kind,
        "layer": spec.layer,
        "concat": spec.concat,
        "num_features": spec.channels,
        "unit": context.task.unit,
        "test_utterances_seen": num_seen,
        "batch_norm_clips": preparations[-1].batch_norm_clips,
        "label_epochs": label_epochs,
        "deviations": context.deviations,
        "notes": (*notes, *[SAW_LABELS] * bool(label_epochs)),
        "options": context.options,
        "run_config": opened.config,
    }


def _seed_result(fit: SeedFit) -> SeedResult:
    return SeedResult(
        seed=fit.seed,
        accuracy=fit.scores.accuracy,
        validation_loss=fit.fitted.validation_loss,
        l2=fit.fitted.l2,
        epochs=fit.fitted.epochs,
    )


def _interval(ends: tuple[float, float]) -> Interval:
    return Interval(low=ends[0], high=ends[1])
