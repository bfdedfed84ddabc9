"""Intervals over pairs of utterances, which share utterances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from vgim.latents.decoded_pairs import Pairs, interval_over_pairs


def pairs_of(first: list[int], second: list[int]) -> Pairs:
    return Pairs(torch.empty(0), np.array(first), np.array(second), 0)


def test_pairs_without_a_common_utterance_have_the_interval_of_students_t() -> None:
    values = np.array([1.0, 1.4, 0.7, 1.1])
    low, high = interval_over_pairs(values, pairs_of([0, 2, 4, 6], [1, 3, 5, 7]))
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert (low, high) == pytest.approx(expected, rel=1e-4)


def test_an_utterance_is_left_out_with_all_of_its_pairs() -> None:
    rng = np.random.default_rng(0)
    first, second = (
        [0, 1, 0, 2, 3, 4, 1, 5],
        [1, 0, 2, 3, 0, 5, 4, 2],
    )  # the first two are one pair, both ways
    values = rng.normal(size=8) + np.arange(8)
    members = [{a, b} for a, b in zip(first, second, strict=True)]

    def changes(groups: list[set[int]]) -> float:
        """Squares of what the mean changes by without the pairs that hold all utterances of a group."""
        without = [
            np.mean([v for v, pair in zip(values, members, strict=True) if not g <= pair]) for g in groups
        ]
        return float(np.square(np.array(without) - values.mean()).sum())

    of_pairs = changes([pair for i, pair in enumerate(members) if pair not in members[:i]])
    total = changes([{utterance} for utterance in range(6)]) - of_pairs
    assert total > of_pairs
    low, high = interval_over_pairs(values, pairs_of(first, second))
    assert (low + high) / 2 == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 5) * (5 / 6 * total) ** 0.5, rel=1e-4)


def test_a_single_pair_and_an_utterance_in_every_pair_have_an_interval() -> None:
    assert interval_over_pairs(np.array([2.0, 2.0]), pairs_of([0, 1], [1, 0])) == (2, 2)
    low, high = interval_over_pairs(np.array([1.0, 2.0]), pairs_of([0, 0], [1, 2]))
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 1, 1.5, 0.5), rel=1e-4)


@pytest.mark.parametrize(("num_utterances", "num_pairs"), [(48, 24), (36, 24), (12, 24), (48, 4)])
def test_the_interval_holds_the_truth_where_pairs_share_utterances(
    num_utterances: int, num_pairs: int
) -> None:
    rng, num_held = np.random.default_rng(0), 0
    for _ in range(400):
        numbers = rng.choice(num_utterances * (num_utterances - 1), num_pairs, replace=False)
        first = numbers // (num_utterances - 1)
        second = (first + 1 + numbers % (num_utterances - 1)) % num_utterances
        of_utterances = rng.normal(0, 0.1, num_utterances)
        values = 1.7 + of_utterances[first] + of_utterances[second] + rng.normal(0, 0.1, num_pairs)
        low, high = interval_over_pairs(values, pairs_of(first, second))
        num_held += low <= 1.7 <= high
    assert num_held / 400 > 0.9  # of nominal 0.95; resampling pairs held it in 0.84, 0.82, 0.65 and 0.76
