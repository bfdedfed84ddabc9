"""95 % intervals of accuracies and means; importable without torch, for readers of results.

Shapes: U utterances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I64

BOOTSTRAP_DRAWS = 2_000
FEW_UTTERANCES = 10
"""Below so many utterances, resampling them gives an interval that is clearly too narrow."""
Z_95 = 1.959964
MANY_DEGREES = 1_000


def interval_over_seeds(accuracies: list[float]) -> tuple[float, float] | None:
    """95 % interval of the mean accuracy over seeds, by Student's t; None for one seed."""
    ends = interval_of_mean(accuracies)
    return None if ends is None else (max(0.0, ends[0]), min(1.0, ends[1]))


def interval_of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of independent values, by Student's t; None for one value."""
    num = len(values)
    if num < 2:
        return None
    half = t_quantile(num - 1) * float(np.std(values, ddof=1)) / math.sqrt(num)
    mean = float(np.mean(values))
    return mean - half, mean + half


def interval_over_utterances(correct_U: NDArray[np.float64], count_U: I64) -> tuple[float, float]:
    """95 % interval of the accuracy on other utterances of the same kind as the test split's.

    With one example for each utterance it is Wilson's score interval (1927), which is also right near 0 and 1. With
    several, examples of one utterance are not independent, so whole utterances are resampled (bootstrap percentiles).
    The examples of a single utterance say nothing of others, so that its interval is all of 0 to 1.

    Args:
        correct_U: Correctly classified examples of each utterance, which are no whole numbers if averaged over seeds.
        count_U: All examples of each utterance.
    """
    if (count_U <= 1).all():
        return wilson_interval(float(correct_U.sum() / count_U.sum()), int(count_U.sum()))
    num = len(count_U)
    if np.count_nonzero(count_U) == 1:
        return 0.0, 1.0
    drawn = np.random.default_rng(0).integers(num, size=(BOOTSTRAP_DRAWS, num))
    ratios = correct_U[drawn].sum(1) / np.maximum(1, count_U[drawn].sum(1))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


def note_on_few_utterances(count_U: I64) -> str | None:
    """A note if `interval_over_utterances` resamples fewer utterances than its width can be trusted with.

    Args:
        count_U: All examples of each utterance.
    """
    num = int(np.count_nonzero(count_U))
    if num >= FEW_UTTERANCES or (count_U <= 1).all():
        return None
    if num == 1:
        return (
            "the test examples are of 1 utterance, which says nothing of others: the interval is 0 to 100 %"
        )
    return (
        f"the test examples are of {num} utterances, so few that the interval over utterances is too narrow"
    )


def wilson_interval(share: float, num: int) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share of hits among `num` trials."""
    z2 = Z_95**2
    center = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = Z_95 / (1 + z2 / num) * math.sqrt(share * (1 - share) / num + z2 / (4 * num**2))
    return max(0.0, center - half), min(1.0, center + half)


def t_quantile(degrees: float) -> float:
    """97.5 % quantile of Student's t for any number of degrees of freedom from 1 on.

    With t = √ν tan φ the density is proportional to cos(φ)^(ν-1), which is integrated by the trapezoidal rule.
    """
    if degrees > MANY_DEGREES:
        return Z_95 * (1 + (Z_95**2 + 1) / (4 * degrees))  # Cornish-Fisher
    angle = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angle) ** (degrees - 1)
    mass = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(degrees) * math.tan(float(np.interp(0.95, mass / mass[-1], angle)))
