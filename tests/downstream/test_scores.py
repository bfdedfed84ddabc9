"""Figures from predictions: confusion, accuracy, intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from vgim.downstream.intervals import (
    interval_over_seeds,
    interval_over_utterances,
    note_on_few_utterances,
    wilson_interval,
)
from vgim.downstream.scores import per_class, score


def test_the_confusion_matrix_counts_true_by_predicted() -> None:
    truth, predicted = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0])
    scores = score(predicted, truth, torch.tensor([0, 0, 0, 1, 1]), 3)
    assert scores.confusion_KK.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert (scores.correct_U.tolist(), scores.count_U.tolist()) == ([2, 1], [3, 2])
    assert scores.accuracy == 0.6
    assert per_class(scores.confusion_KK) == [0.5, pytest.approx(2 / 3), None]


@pytest.mark.parametrize("num", [2, 3, 5, 11, 12, 20, 50])
def test_the_interval_over_seeds_is_that_of_students_t(num: int) -> None:
    values = np.random.default_rng(num).normal(0.5, 0.02, num).tolist()
    low, high = stats.t.interval(0.95, num - 1, np.mean(values), stats.sem(values))
    assert interval_over_seeds(values) == pytest.approx((low, high), rel=1e-3)


def test_one_seed_has_no_interval() -> None:
    assert interval_over_seeds([0.5]) is None


@pytest.mark.parametrize(("hits", "num"), [(0, 10), (7, 10), (40, 40)])
def test_the_interval_of_a_share_is_that_of_wilson(hits: int, num: int) -> None:
    expected = stats.binomtest(hits, num).proportion_ci(method="wilson")
    assert wilson_interval(hits / num, num) == pytest.approx((expected.low, expected.high), abs=1e-6)
    counts = np.ones(num, np.int64)
    assert interval_over_utterances((np.arange(num) < hits).astype(float), counts) == wilson_interval(
        hits / num, num
    )


def test_frames_of_one_utterance_do_not_count_as_independent() -> None:
    rng = np.random.default_rng(0)
    count = np.full(40, 200)
    alike = np.where(rng.random(40) < 0.5, 180, 40).astype(float)  # utterances are easy or hard as a whole
    low, high = interval_over_utterances(alike, count)
    naive = wilson_interval(float(alike.sum() / count.sum()), int(count.sum()))
    assert high - low > 5 * (naive[1] - naive[0])
    assert low < alike.sum() / count.sum() < high


@pytest.mark.parametrize("count", [[309], [0, 309, 0]])
def test_frames_of_a_single_utterance_bound_nothing(count: list[int]) -> None:
    count_U = np.array(count)
    assert interval_over_utterances(0.25 * count_U, count_U) == (0, 1)
    assert "1 utterance, which says nothing of others" in str(note_on_few_utterances(count_U))


@pytest.mark.parametrize(
    ("num", "each", "noted"), [(2, 50, True), (9, 50, True), (10, 50, False), (2, 1, False)]
)
def test_a_note_says_where_too_few_utterances_are_resampled(num: int, each: int, noted: bool) -> None:
    note = note_on_few_utterances(np.full(num, each))
    assert (note is not None) == noted
    assert note is None or f"of {num} utterances" in note
