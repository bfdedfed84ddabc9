"""Accuracies over training seeds and test utterances, and paired differences, with 95 % intervals.

Every encoder is trained with several seeds and tested on the same utterances: a crossed design with two random factors.
The variance of the mean is the variance of the seeds' means over S, plus the variance of the utterances' means over U.
This counts the interaction of seeds and utterances twice, and so errs to wide intervals. Each part has a half width by
Student's t, with S - 1 and U - 1 degrees of freedom; that of the interval is the root of the sum of their squares.
Satterthwaite's joint degrees of freedom would be many, and the interval too narrow, whenever few seeds happen to agree.
A difference of two encoders is paired: their answers are subtracted seed by seed and utterance by utterance first.

Shapes: S seeds, U utterances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from vgim.arrays import F64, I64
from vgim.downstream.intervals import interval_of_mean, interval_over_utterances, wilson_interval
from vgim.downstream.options import ResultModel


class Estimate(ResultModel):
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float
    num_seeds: int
    """Training seeds that were averaged; with one, the interval is over utterances alone."""


class SeedHits(NamedTuple):
    """Right answers of one encoder on the test split."""

    utterance_ids: tuple[str, ...]
    """Test utterances; of labels that are alike within speakers, the speakers."""
    correct_U: F64
    """Right examples of each utterance, mean over the probe's own seeds."""
    count_U: I64
    """Examples of each utterance."""


@dataclass(frozen=True)
class Hits:
    """Right answers of the same kind of encoder by training seed."""

    by_seed: Mapping[int | None, SeedHits]
    """The key is None for features that do not depend on training, such as MFCCs."""

    @property
    def first(self) -> SeedHits:
        """The hits of the first seed."""
        return next(iter(self.by_seed.values()))

    @property
    def is_seedless(self) -> bool:
        """Whether the features do not depend on training."""
        return None in self.by_seed


def estimate(hits: Hits) -> Estimate:
    """Accuracy, mean over seeds, with an interval over seeds and utterances."""
    first, num_seeds = hits.first, len(hits.by_seed)
    accuracy_S = [seed.correct_U.sum() / seed.count_U.sum() for seed in hits.by_seed.values()]
    mean = float(np.mean(accuracy_S))
    if num_seeds == 1:
        low, high = interval_over_utterances(first.correct_U, first.count_U)
        return Estimate(mean=mean, low=low, high=high, num_seeds=1)
    x_SU = np.stack([_linearized(seed, mean) for seed in hits.by_seed.values()])
    half = _half_width(x_SU)
    if half == 0:  # every answer is right, or every answer is wrong
        low, high = wilson_interval(mean, len(first.count_U))
    else:
        low, high = max(0.0, mean - half), min(1.0, mean + half)
    return Estimate(mean=mean, low=low, high=high, num_seeds=num_seeds)


def paired_difference(one: Hits, other: Hits) -> Estimate | None:
    """Accuracy of `one` minus that of `other` on the seeds that both have; None if seeds or utterances do not match."""
    seeds: list[int | None] = [seed for seed in one.by_seed if seed in other.by_seed]
    if one.is_seedless or other.is_seedless:
        seeds = list(other.by_seed if one.is_seedless else one.by_seed)
    pairs = [(_of_seed(one, seed), _of_seed(other, seed)) for seed in seeds]
    if not pairs or any(not _same_test(a, b) for a, b in pairs):
        return None
    rows = []
    for a, b in pairs:
        mean_a, mean_b = (float(hits.correct_U.sum() / hits.count_U.sum()) for hits in (a, b))
        rows.append(_linearized(a, mean_a) - _linearized(b, mean_b))
    x_SU = np.stack(rows)
    mean, half = float(x_SU.mean()), _half_width(x_SU)
    if half == 0:  # no utterance tells the encoders apart, or all do alike; so many others may, by Wilson
        _, half = wilson_interval(0.0, x_SU.shape[1])
    return Estimate(mean=mean, low=max(-1.0, mean - half), high=min(1.0, mean + half), num_seeds=len(pairs))


def _of_seed(hits: Hits, seed: int | None) -> SeedHits:
    return hits.first if hits.is_seedless else hits.by_seed[seed]


def _same_test(a: SeedHits, b: SeedHits) -> bool:
    return a.utterance_ids == b.utterance_ids and np.array_equal(a.count_U, b.count_U)


def _linearized(hits: SeedHits, mean: float) -> F64:
    """Contribution of each utterance [U] to the accuracy, which is their mean.

    An accuracy over utterances of unequal length is a ratio of sums; this is its first-order expansion.
    """
    weight_U = len(hits.count_U) / hits.count_U.sum()
    contribution_U: F64 = mean + (hits.correct_U - mean * hits.count_U) * weight_U
    return contribution_U


def _half_width(x_SU: F64) -> float:
    """Half the width of the 95 % interval of the mean over seeds and utterances; 1 if there is one utterance alone."""
    if x_SU.shape[1] == 1:
        return 1.0
    intervals = (interval_of_mean(means.tolist()) for means in (x_SU.mean(1), x_SU.mean(0)))
    return math.hypot(*((high - low) / 2 for low, high in filter(None, intervals)))
