"""From the points of all features to one result for each module.

Shapes: S test examples, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from vgim.downstream.context import ProbeContext
from vgim.downstream.few_labels.fit import LabeledSubsets
from vgim.downstream.few_labels.result import (
    FewLabelsOptions,
    FewLabelsPoint,
    FewLabelsResult,
    notes_on_points,
)
from vgim.downstream.intervals import interval_of_mean
from vgim.downstream.leakage import count_seen
from vgim.downstream.result import Interval
from vgim.runs.provenance import collect_provenance

ONE_RANDOM = (
    "the random encoder has one set of weights: the interval over seeds is over labeled subsets alone"
)
ONE_FIT = "all labels are one fit, without an interval"


class StudiedFeatures(NamedTuple):
    """The points of one encoder and module, and what they were measured on."""

    module: int | None
    batch_norm_clips: int
    points: list[FewLabelsPoint]
    num_train_utterances: int
    num_test_utterances: int


def summarize_modules(
    context: ProbeContext,
    options: FewLabelsOptions,
    studied: list[StudiedFeatures],
    labels: LabeledSubsets,
    notes: list[str],
) -> list[FewLabelsResult]:
    """Make a result for each module; features without an encoder are in every one."""
    opened = context.opened
    modules: list[int | None] = []
    modules += dict.fromkeys(s.module for s in studied if s.module is not None)
    modules = modules or [None]
    counts_K = torch.bincount(labels.y_N, minlength=labels.num_classes)
    truth_S = labels.truth_S
    checkpoint = opened.encoder.checkpoint if "trained" in options.encoders else None
    num_seen: int | None = 0
    if checkpoint is not None:
        num_seen = count_seen(
            opened.config, checkpoint.state.data_fingerprint, opened.shards, opened.manifest
        )
    if None in options.labels_per_class:
        notes = [*notes, ONE_FIT]
    if "random" in options.encoders:
        notes = [*notes, ONE_RANDOM]
    results = []
    for module in modules:
        of_module = [s for s in studied if s.module in (module, None)]
        points = _with_gains([point for s in of_module for point in s.points])
        results.append(
            FewLabelsResult(
                **dict(
                    collect_provenance(
                        checkpoint, module, opened.shards, opened.manifest, context.labels_digest
                    )
                ),
                task=options.task,
                points=tuple(points),
                majority=float((truth_S == counts_K.argmax()).double().mean()),
                chance=1 / labels.num_classes,
                unit=context.task.unit,
                num_train=len(labels.y_N),
                num_test=len(truth_S),
                num_train_utterances=studied[0].num_train_utterances,
                num_test_utterances=studied[0].num_test_utterances,
                test_utterances_seen=num_seen,
                batch_norm_clips=max(s.batch_norm_clips for s in of_module),
                notes=(*notes, *notes_on_points(points, labels.num_classes, options.draws)),
                options=context.options,
                run_config=opened.config,
            )
        )
    return results


def interval_or_none(ends: tuple[float, float] | None) -> Interval | None:
    """An interval's ends as a record."""
    return None if ends is None else Interval(low=ends[0], high=ends[1])


def _with_gains(points: list[FewLabelsPoint]) -> list[FewLabelsPoint]:
    """Add to each point its difference from the trained encoder's μ, paired by seed."""
    accuracies_of_mean = {
        p.labels_per_class: p.accuracies for p in points if (p.encoder, p.features) == ("trained", "mean")
    }
    if not accuracies_of_mean:
        return points
    updated = []
    for point in points:
        if (point.encoder, point.features) != ("trained", "mean"):
            gains = np.subtract(point.accuracies, accuracies_of_mean[point.labels_per_class]).tolist()
            update = {
                "gain": float(np.mean(gains)),
                "gain_interval": interval_or_none(interval_of_mean(gains)),
            }
            point = point.model_copy(update=update)
        updated.append(point)
    return updated
