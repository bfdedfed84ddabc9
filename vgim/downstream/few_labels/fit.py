"""Fits of a linear classifier to few labels: one for every subset, all with the same penalty.

Shapes: N examples of the train split, S test examples, M rows of a fit, C features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vgim.downstream.few_labels.subsets import label_order, labeled
from vgim.downstream.logistic import Scaling, minimize, zero_classifier
from vgim.downstream.solvers import ROWS_AT_ONCE, Fitted

TOLERANCE = 1e-4
"""Largest absolute element of the gradient at which a fit ends."""
SAMPLED_ROWS = 65_536
"""Most rows of a fit: labeled examples times draws."""

RowsOf = Callable[[Tensor, int], Tensor]
"""Takes labeled rows and a number of draws; returns features [draws · rows, C], one draw after the other."""


class Moments:
    """Mean and mean square of each feature over the train split, for which no label is needed."""

    def __init__(self) -> None:
        self.num = 0
        self.sum_C: Tensor | None = None
        self.squares_C: Tensor | None = None

    def add(self, x_NC: Tensor) -> None:
        """Add examples to the sums."""
        parts = [x.double() for x in torch.split(x_NC, ROWS_AT_ONCE)]
        sum_C = torch.stack([x.sum(0) for x in parts]).sum(0)
        squares_C = torch.stack([x.square().sum(0) for x in parts]).sum(0)
        self.sum_C = sum_C if self.sum_C is None else self.sum_C + sum_C
        self.squares_C = squares_C if self.squares_C is None else self.squares_C + squares_C
        self.num += len(x_NC)

    def scaling(self) -> Scaling:
        """Mean and standard deviation of each feature."""
        assert self.sum_C is not None
        assert self.squares_C is not None
        mean_C = self.sum_C / self.num
        return Scaling.of(mean_C, self.squares_C / self.num - mean_C.square())


@dataclass(frozen=True)
class LabeledSubsets:
    """Labels of the examples that all features have, and the random subsets that are trained on."""

    y_N: Tensor
    """Classes of the training examples."""
    truth_S: Tensor
    """Classes of the test examples."""
    num_classes: int
    sizes: tuple[int | None, ...]
    """Labels per class; None for all."""
    subsets: dict[tuple[int | None, int], Tensor]
    """Rows of the labeled examples, ascending, by labels per class and seed; all labels are one subset, of seed 0."""

    @classmethod
    def draw(
        cls,
        y_N: Tensor,
        owner_N: Tensor,
        truth_S: Tensor,
        num_classes: int,
        sizes: Sequence[int | None],
        num_seeds: int,
    ) -> LabeledSubsets:
        """Draw the subsets of each seed; see `label_order`."""
        orders = [label_order(y_N, owner_N, num_classes, seed) for seed in range(num_seeds)]
        subsets = {
            (size, seed): labeled(orders[seed], size)
            for size in sizes
            for seed in range(1 if size is None else num_seeds)
        }
        return cls(y_N, truth_S, num_classes, tuple(sizes), subsets)

    def num_labels(self, size: int | None) -> int:
        """Labeled examples of all classes together, the same number for each seed."""
        return len(self.subsets[size, 0])

    def num_short_classes(self, size: int | None) -> int:
        """Classes with fewer than `size` examples."""
        return 0 if size is None else int((torch.bincount(self.y_N, minlength=self.num_classes) < size).sum())

    def num_draws(self, size: int | None, max_draws: int) -> int:
        """Samples of each labeled example: `max_draws`, or fewer so that a fit has at most `SAMPLED_ROWS` rows."""
        return max(1, min(max_draws, SAMPLED_ROWS // self.num_labels(size)))

    def rows_of_draw(self, draw: int, max_draws: int) -> Tensor:
        """Rows of the examples whose sample of this draw, counted from 0, is used by any fit; ascending."""
        used = [rows for (size, _), rows in self.subsets.items() if self.num_draws(size, max_draws) > draw]
        return torch.unique(torch.cat(used)) if used else torch.empty(0, dtype=torch.int64)


def fit_subsets(
    labels: LabeledSubsets,
    rows_of: RowsOf,
    test_SC: Tensor,
    moments: Moments,
    *,
    max_draws: int,
    bias: bool,
    logit_std: float,
    device: torch.device,
) -> Iterable[tuple[int | None, list[float]]]:
    """Fit a classifier to every subset.

    The penalty is fixed, because few labels leave none to choose it by: λ/2 · ‖W‖² is added to the cross-entropy,
    which is summed over labeled examples and averaged over their draws; λ = C / logit_std². With features of unit
    variance this is the prior under which a logit has the standard deviation `logit_std`, for any number of features.

    Args:
        test_SC: Features of the test examples.
        max_draws: Most samples of each labeled example.

    Returns:
        Labels per class, each with the test accuracies of its seeds.
    """
    scaling = Scaling(*(t.to(device) for t in moments.scaling()))
    offset_C = None if bias else scaling.offset()
    start = zero_classifier(labels.num_classes, len(scaling.mean_C), device)
    test_SC, truth_S = test_SC.to(device), labels.truth_S.to(device)
    for size in labels.sizes:
        num_draws, accuracies = labels.num_draws(size, max_draws), []
        for seed in range(sum(key[0] == size for key in labels.subsets)):
            rows = labels.subsets[size, seed]
            x_MC = scaling.standardize(rows_of(rows, num_draws).to(device))
            y_M = labels.y_N[rows].repeat(num_draws).to(device)
            l2 = x_MC.shape[1] / logit_std**2 / len(rows)
            optimum = minimize(x_MC, y_M, start, l2, offset_C=offset_C, tolerance=TOLERANCE)
            w_KC, b_K = (t.to(x_MC.dtype) for t in scaling.raw(optimum.w_KC, optimum.b_K, bias=bias))
            fitted = Fitted(w_KC, b_K, float("nan"), l2, None)
            accuracies.append(float((fitted.predict(test_SC) == truth_S).double().mean()))
        yield size, accuracies
