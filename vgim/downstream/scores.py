"""From predictions to accuracies, per class too.

Shapes: N examples, U utterances, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vgim.arrays import I64


class Scores(NamedTuple):
    """Hits of one seed's classifier on the test split."""

    confusion_KK: I64
    """Examples by true class (row) and predicted class (column)."""
    correct_U: I64
    """Correctly classified examples of each test utterance."""
    count_U: I64
    """All examples of each test utterance."""

    @property
    def accuracy(self) -> float:
        return float(self.correct_U.sum() / self.count_U.sum())


def score(predicted_N: Tensor, truth_N: Tensor, owner_N: Tensor, num_classes: int) -> Scores:
    """Compare predicted with true classes.

    Args:
        owner_N: Index of each example's utterance, counted from 0.
    """
    cells = torch.bincount(truth_N * num_classes + predicted_N, minlength=num_classes**2)
    correct_N = (predicted_N == truth_N).double()
    num_utterances = int(owner_N.max()) + 1
    return Scores(
        cells.view(num_classes, num_classes).numpy(),
        torch.bincount(owner_N, correct_N, minlength=num_utterances).long().numpy(),
        torch.bincount(owner_N, minlength=num_utterances).numpy(),
    )


def per_class(confusion_KK: I64) -> list[float | None]:
    """Accuracy of each class; None for a class that is not in the test split."""
    totals = confusion_KK.sum(1)
    hits = confusion_KK.diagonal()
    return [float(hit / total) if total else None for hit, total in zip(hits, totals, strict=True)]
