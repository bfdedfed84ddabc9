"""Right answers by test utterance, read from a probe's predictions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vgim.compare.crossed import SeedHits
from vgim.downstream.predictions import Predictions, sum_by
from vgim.downstream.probes.registry import probe_class

WHOLE = ""
"""The part of a class that is the class itself."""


def parts_of(task: str) -> dict[str, Callable[[str], str]]:
    """Classifications that a task's predictions decide: the task's own, and coarser ones of its classes by name."""
    return {WHOLE: lambda name: name, **probe_class(task).class_parts}


def hits_of(predictions: Predictions, part: Callable[[str], str]) -> SeedHits:
    """Right answers of each utterance when only a part of the class has to be right.

    Where labels are alike within speakers, the answers are those of each speaker: intervals are over these.
    """
    names = [part(name) for name in predictions.classes]
    index = {name: number for number, name in enumerate(dict.fromkeys(names))}
    part_K = np.array([index[name] for name in names])
    right_SN = part_K[predictions.predicted_SN] == part_K[predictions.truth_N]
    num_utterances = len(predictions.count_U)
    owner_N = np.repeat(np.arange(num_utterances), predictions.count_U)
    correct_U = np.bincount(owner_N, right_SN.mean(0), minlength=num_utterances).astype(np.float64)
    if (clusters := predictions.clusters) is not None:
        speakers = tuple(sorted(set(clusters)))
        return SeedHits(speakers, sum_by(clusters, correct_U), sum_by(clusters, predictions.count_U))
    return SeedHits(predictions.utterance_ids, correct_U, predictions.count_U)
