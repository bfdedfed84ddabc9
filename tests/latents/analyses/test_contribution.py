"""The interpolation contribution score, where it is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.latents.cases import input_of, normal
from vgim.latents.analyses import contribution
from vgim.latents.analyses.contribution import (
    ContributionAnalysis,
    most_different,
    relative_errors,
    swap,
    swap_sizes,
)
from vgim.latents.decoded_pairs import Pairs


@given(st.integers(1, 1_000))
def test_swaps_grow_from_none_to_all(num_channels: int) -> None:
    sizes = swap_sizes(num_channels)
    assert sizes[0] == 0
    assert sizes[-1] == num_channels
    assert sizes == sorted(set(sizes))


def test_swapping_all_dimensions_gives_the_other_utterance() -> None:
    a_TC, b_TC = torch.from_numpy(normal(6, 8)), torch.from_numpy(normal(6, 8, seed=1))
    order_C = most_different(a_TC, b_TC)
    assert torch.equal(swap(a_TC, b_TC, order_C), b_TC)
    assert torch.equal(swap(a_TC, b_TC, order_C[:0]), a_TC)


def test_the_dimension_that_differs_is_swapped_first() -> None:
    a_TC = torch.zeros(4, 3)
    b_TC = a_TC.clone()
    b_TC[:, 1] = 1
    assert most_different(a_TC, b_TC)[0] == 1
    assert torch.equal(swap(a_TC, b_TC, torch.tensor([1])), b_TC)


def test_the_score_is_relative_errors_to_no_swap() -> None:
    pairs = Pairs(torch.empty(0), np.array([0, 2, 4]), np.array([1, 3, 5]), 0)
    score_S, low_S, high_S = relative_errors(np.array([[2.0, 1, 0], [4, 1, 0], [6, 4, 0]]), pairs)
    assert score_S.tolist() == [1, 0.5, 0]
    assert (low_S[0], high_S[0], low_S[2], high_S[2]) == (1, 1, 0, 0)
    assert low_S[1] <= 0.5 <= high_S[1]


def test_each_dimension_contributes_the_square_of_its_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that holds each of 4 dimensions for 200 samples: the error is a sum over dimensions."""

    def decoder(latents_BTC: torch.Tensor, num_samples: int) -> torch.Tensor:
        return latents_BTC.mean(1).repeat_interleave(num_samples // 4, dim=1)

    latents_UTC = torch.zeros(2, 3, 4)
    latents_UTC[1] = torch.tensor([1.0, 2.0, 0.0, 3.0])  # squares 1, 4, 0 and 9: in order 9, 4, 1, 0
    pairs = Pairs(latents_UTC, np.array([0, 1]), np.array([1, 0]), 800)
    monkeypatch.setattr(contribution, "make_pairs", lambda *_: pairs)
    output = ContributionAnalysis().run(input_of(decoder=decoder))
    curve = next(curve for curve in output.curves if curve.title.endswith("audio"))
    assert curve.x == (0, 2, 4)
    assert curve.y == pytest.approx((1, 1 / 14, 0))
    assert curve.low == pytest.approx(curve.y)  # both pairs are the same but for the sign
    assert output.metrics["audio_dimensions_for_half"] == 2
    assert output.metrics["num_pairs"] == 2
    random = [row for row in output.csv_files["scores.csv"].rows if row[:2] == ("audio", "random")]
    sums = {round(1 - (a + b) / 14, 6) for a, b in [(1, 4), (1, 0), (1, 9), (4, 0), (4, 9), (0, 9)]}
    both = {round((a + b) / 2, 4) for a in sums for b in sums}  # each pair draws dimensions of its own
    assert round(float(random[1][3]), 4) in both
