"""95 % intervals of accuracies and means; importable without torch, for readers of results.

Shapes: U utterances, or other clusters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vgim.arrays import I64

FEW_CLUSTERS = 10
"""Below so many utterances, or speakers, a note says how few they are."""
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
    several, examples of one utterance are not independent, so it is `interval_over_clusters`. The examples of a single
    utterance say nothing of others, so that its interval is all of 0 to 1.

    Args:
        correct_U: Correctly classified examples of each utterance, which are no whole numbers if averaged over seeds.
            Where labels are alike within a speaker, speakers take the place of utterances.
        count_U: All examples of each utterance.
    """
    total = int(count_U.sum())
    if (count_U <= 1).all():
        return wilson_interval(float(correct_U.sum() / total), total)
    correct_U, count_U = correct_U[count_U > 0], count_U[count_U > 0]
    if len(count_U) == 1:
        return 0.0, 1.0
    without_U = (correct_U.sum() - correct_U) / (total - count_U)
    return interval_over_clusters(float(correct_U.sum() / total), without_U, total)


def interval_over_clusters(share: float, without_U: NDArray[np.float64], num: int) -> tuple[float, float]:
    """95 % interval of a share of hits whose trials are alike within clusters, such as utterances or speakers.

    Wilson's interval has the number of independent trials that would give the share its variance (Korn and Graubard
    1998; Franco et al. 2019), and Student's t instead of the normal quantile. The variance is that of leaving out one
    cluster at a time (jackknife), which does not underestimate that of few clusters of unequal size (MacKinnon et al.
    2023).

    Args:
        share: Share of hits of all clusters.
        without_U: Share without each cluster; at least two.
        num: Trials, of which no more count as independent. Where the share is 0 or 1, each cluster counts as one.
    """
    num_clusters = len(without_U)
    variance = (num_clusters - 1) / num_clusters * float(np.square(without_U - share).sum())
    if not 0 < share < 1:
        independent = float(num_clusters)
    else:
        independent = min(num, share * (1 - share) / variance) if variance else num
    return wilson_interval(share, independent, t_quantile(num_clusters - 1))


def note_on_few_clusters(count_U: I64, what: str = "utterance") -> str | None:
    """A note if examples are of few utterances or speakers, so that little is known of how these differ.

    Args:
        count_U: All examples of each utterance or speaker.
        what: What a cluster is: `utterance` or `speaker`.
    """
    return None if (count_U <= 1).all() else note_on_few(int(np.count_nonzero(count_U)), what)


def note_on_few(num: int, what: str) -> str | None:
    """A note if an interval is over few clusters.

    Args:
        num: Number of clusters.
        what: What a cluster is: `utterance` or `speaker`.
    """
    if num >= FEW_CLUSTERS:
        return None
    if num == 1:
        return f"the test examples are of 1 {what}, which says nothing of others: the interval is 0 to 100 %"
    return (
        f"the test examples are of {num} {what}s, which tell little of how {what}s differ: the interval is wide, and a "
        f"test split of more {what}s makes it narrower"
    )


def wilson_interval(share: float, num: float, quantile: float = Z_95) -> tuple[float, float]:
    """Wilson's 95 % score interval of a share of hits among `num` independent trials.

    Args:
        quantile: 97.5 % quantile of the standardized share.
    """
    q2 = quantile**2
    center = (share + q2 / (2 * num)) / (1 + q2 / num)
    half = quantile / (1 + q2 / num) * math.sqrt(share * (1 - share) / num + q2 / (4 * num**2))
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
