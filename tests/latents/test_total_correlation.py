"""Estimators of total correlation, where the closed form is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.latents.cases import normal
from vgim.arrays import F32
from vgim.latents import total_correlation
from vgim.latents.total_correlation import (
    copula_total_correlation,
    lone_kernels,
    published_density,
    published_entropies,
    published_total_correlation,
    shuffle,
    split_half_total_correlation,
)


def equally_correlated(num: int, size: int, rho: float) -> tuple[F32, float]:
    """Gaussian rows whose columns all correlate by rho, and their total correlation."""
    x_ND = math.sqrt(1 - rho) * normal(num, size) + math.sqrt(rho) * normal(num, 1, seed=1)
    return x_ND.astype(np.float32), -0.5 * ((size - 1) * math.log(1 - rho) + math.log(1 + (size - 1) * rho))


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_total_correlation_of_a_gaussian_is_the_closed_form(rho: float) -> None:
    x_ND, truth = equally_correlated(2_400, 2, rho)
    assert split_half_total_correlation(x_ND) == pytest.approx(truth, abs=0.09)
    assert copula_total_correlation(x_ND) == pytest.approx(truth, abs=0.09)


def test_shuffled_parts_are_independent() -> None:
    same = np.repeat(normal(2_000, 1), 2, axis=1) + 0.1 * normal(2_000, 2, seed=1)
    rng = np.random.default_rng(0)
    assert split_half_total_correlation(same) > 1
    assert abs(split_half_total_correlation(shuffle(same, rng))) < 0.1


def test_ours_above_shuffled_are_near_the_truth_in_many_dimensions() -> None:
    for size in (10, 50):
        x_ND, truth = equally_correlated(1_000, size, 0.5)
        shuffled_ND = shuffle(x_ND, np.random.default_rng(0))
        for estimate in (copula_total_correlation, split_half_total_correlation):
            assert estimate(x_ND) - estimate(shuffled_ND) == pytest.approx(truth, rel=0.2)


def test_the_copula_sees_through_monotone_maps_and_ties() -> None:
    x_ND, truth = equally_correlated(2_000, 4, 0.5)
    assert copula_total_correlation(np.exp(3 * x_ND)) == pytest.approx(
        copula_total_correlation(x_ND), abs=1e-9
    )
    tied = copula_total_correlation(np.maximum(x_ND, 0))  # half of the values are 0
    assert 0.3 * truth < tied < truth


def test_the_published_estimator_is_its_sum_over_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(total_correlation, "ROWS_AT_ONCE", 7)  # blocks, of which the last is smaller

    def entropy(x_ND: F32) -> float:
        num, size = x_ND.shape
        square_NN = np.square(x_ND[:, None].astype(np.float64) - x_ND[None]).sum(2)
        kernels_NN = np.exp(-square_NN / (2 * 0.1**2)) / (0.1 * math.sqrt(2 * math.pi)) ** size
        return float(-np.log(kernels_NN.sum(1) / num).mean())

    x_ND = 0.2 * normal(40, 3)
    by_hand = sum(entropy(x_ND[:, [d]]) for d in range(3)) - entropy(x_ND)
    assert published_total_correlation(x_ND) == pytest.approx(by_hand, abs=1e-9)
    assert 1 / 40 < published_density(x_ND).own_kernel_share < 1


def test_the_published_estimator_sees_no_dependence_in_ten_dimensions() -> None:
    """Its value is that of kernels that are alone, for independent columns as for dependent ones."""
    for rho, truth in ((0.0, 0.0), (0.5, 2.27)):
        x_ND, known = equally_correlated(1_000, 10, rho)
        assert known == pytest.approx(truth, abs=0.01)
        published = published_total_correlation(x_ND)
        assert published > 20
        assert published == pytest.approx(lone_kernels(published_entropies(x_ND), 1_000), abs=0.01)
        assert published_density(x_ND).own_kernel_share > 0.99
        assert published == pytest.approx(
            published_total_correlation(shuffle(x_ND, np.random.default_rng(0))), abs=0.01
        )


def test_too_few_rows_and_copies_are_refused_by_ours() -> None:
    for x_ND in (normal(20, 20), np.repeat(normal(50, 1), 2, axis=1)):
        for estimate in (copula_total_correlation, split_half_total_correlation):
            with pytest.raises(np.linalg.LinAlgError):
                estimate(x_ND)
