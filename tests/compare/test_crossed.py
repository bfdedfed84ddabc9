"""Intervals over seeds and utterances: known values, coverage by simulation, and pairing."""

from __future__ import annotations

import numpy as np
import pytest

from vgim.compare.crossed import Hits, SeedHits, estimate, paired_difference
from vgim.downstream.intervals import interval_of_mean, t_quantile, wilson_interval


def hits_of(right_SU: np.ndarray, count: int | np.ndarray = 1, names: str = "u") -> Hits:
    num_utterances = right_SU.shape[1]
    count_U = np.broadcast_to(count, num_utterances).astype(np.int64)
    ids = tuple(f"{names}{index}" for index in range(num_utterances))
    return Hits({seed: SeedHits(ids, row.astype(float), count_U) for seed, row in enumerate(right_SU)})


def test_quantiles_of_t() -> None:
    # Tables of Student's t, 97.5 %
    known = {1: 12.7062, 2: 4.3027, 3: 3.1824, 10: 2.2281, 30: 2.0423, 100: 1.9840, 5_000: 1.9604}
    assert {degrees: t_quantile(degrees) for degrees in known} == pytest.approx(known, abs=1e-4)
    assert t_quantile(2) > t_quantile(2.5) > t_quantile(3)


def test_one_seed_has_wilsons_interval() -> None:
    right = np.arange(50) < 40
    found = estimate(hits_of(right[None]))
    assert (found.mean, found.num_seeds) == (0.8, 1)
    assert (found.low, found.high) == wilson_interval(0.8, 50)


def test_only_seeds_that_differ_give_students_interval_and_only_utterances_theirs() -> None:
    # Utterances alike: each is right by the same share in a seed, so that seeds alone vary.
    shares = np.array([0.5, 0.6, 0.7])
    found = estimate(hits_of(np.tile(100 * shares[:, None], (1, 40)), 100))
    assert (found.low, found.high) == pytest.approx(interval_of_mean(shares.tolist()))
    # Seeds alike: utterances alone vary.
    right = np.arange(100) < 60
    found = estimate(hits_of(np.tile(right, (3, 1))))
    half = t_quantile(99) * np.std(right, ddof=1) / 10
    assert (found.low, found.high) == pytest.approx((0.6 - half, 0.6 + half))


def test_seeds_that_are_always_right_have_an_interval() -> None:
    found = estimate(hits_of(np.ones((3, 40))))
    assert (found.mean, found.high) == (1, 1)
    assert found.low == wilson_interval(1, 40)[0] < 0.95


def test_utterances_of_unequal_length_are_weighted_by_their_examples() -> None:
    count = np.array([1, 9, 10])
    right_SU = np.array([[1, 9, 0], [0, 9, 5]])
    found = estimate(hits_of(right_SU, count))
    assert found.mean == pytest.approx((10 / 20 + 14 / 20) / 2)


def test_a_paired_difference_is_narrower_than_either_accuracy() -> None:
    rng = np.random.default_rng(0)
    hard_U = rng.normal(0, 3, 300)
    one = hits_of(hard_U + rng.normal(0, 0.5, (3, 300)) > 0)
    other = hits_of(hard_U + rng.normal(0, 0.5, (3, 300)) > 0.3)
    difference = paired_difference(one, other)
    assert difference is not None
    assert difference.mean == pytest.approx(estimate(one).mean - estimate(other).mean)
    assert difference.high - difference.low < 0.7 * (estimate(one).high - estimate(one).low)
    reversed_difference = paired_difference(other, one)
    assert reversed_difference is not None
    assert reversed_difference.low == pytest.approx(-difference.high)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_encoders_that_answer_alike_may_differ_on_other_utterances(num_seeds: int) -> None:
    right = np.tile(np.arange(36) < 34, (num_seeds, 1))
    found = paired_difference(hits_of(right), hits_of(right))
    assert found is not None
    assert (found.mean, found.high) == (0, wilson_interval(0, 36)[1])
    assert found.low == -found.high < -0.09


def test_differences_need_common_seeds_and_the_same_utterances() -> None:
    right = np.random.default_rng(0).random((3, 20)) > 0.5
    assert paired_difference(hits_of(right), hits_of(right, names="v")) is None
    moved = Hits({seed + 7: hits for seed, hits in hits_of(right).by_seed.items()})
    assert paired_difference(hits_of(right), moved) is None
    seedless = Hits({None: hits_of(right).by_seed[0]})
    found = paired_difference(hits_of(right), seedless)
    assert found is not None
    assert found.num_seeds == 3
    assert found.mean == pytest.approx(right.mean() - right[0].mean())


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_a_single_utterance_bounds_neither_an_accuracy_nor_a_difference(num_seeds: int) -> None:
    one = hits_of(np.full((num_seeds, 1), 70), 100)
    found = estimate(one)
    assert (found.mean, found.low, found.high) == (pytest.approx(0.7), 0, 1)
    difference = paired_difference(one, hits_of(np.full((num_seeds, 1), 50), 100))
    assert difference is not None
    assert difference.mean == pytest.approx(0.2)
    assert difference.low < 0 < difference.high == 1


@pytest.mark.parametrize(
    ("seeds", "utterance_std", "seed_std", "both_std"),
    [(3, 2, 0, 0), (3, 2, 0.15, 0.5), (3, 2, 0.3, 0), (3, 0.3, 0.1, 1), (2, 1, 0.8, 0.2), (2, 0.5, 0.3, 0.2)],
)
def test_intervals_cover_the_expected_accuracy(
    seeds: int, utterance_std: float, seed_std: float, both_std: float
) -> None:
    """200 utterances, logits with effects of utterances, of seeds and of both; expected accuracy 1/2."""
    rng, covered, draws = np.random.default_rng(1), 0, 600
    for _ in range(draws):
        logit_SU = (
            utterance_std * rng.standard_normal(200)
            + seed_std * rng.standard_normal((seeds, 1))
            + both_std * rng.standard_normal((seeds, 200))
        )
        found = estimate(hits_of(rng.random((seeds, 200)) < 1 / (1 + np.exp(-logit_SU))))
        covered += found.low <= 0.5 <= found.high
    assert 0.93 <= covered / draws <= 0.998
