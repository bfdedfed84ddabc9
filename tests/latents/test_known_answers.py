"""The measures behind the analyses, where the answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vgim.downstream.probes.probe import Examples
from vgim.downstream.solvers import fit_lbfgs
from vgim.latents.contribution import most_different, relative, swap, swap_sizes
from vgim.latents.correlation import shuffle, total_correlation
from vgim.latents.distribution import active, kl_per_dimension, ks_against_normal, moments
from vgim.latents.frame_labels import NO_LABEL
from vgim.latents.labels import cumulative_share, dimensions_for, information, standardized
from vgim.latents.map import nearest_elsewhere, perplexity, principal, shared
from vgim.latents.sensitivity import LATENT_EPSILONS, attack_latents
from vgim.latents.smoothness import path_of


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# distribution


def test_a_standard_normal_posterior_holds_nothing() -> None:
    kl_C = kl_per_dimension(np.zeros((50, 3), np.float32), np.ones((50, 3), np.float32))
    assert kl_C == pytest.approx([0, 0, 0], abs=1e-12)


def test_kl_is_the_closed_form() -> None:
    mu, std = np.float32(0.5), np.float32(0.25)
    expected = 0.5 * (mu**2 + std**2 - 1) - math.log(std)
    assert kl_per_dimension(np.full((7, 2), mu), np.full((7, 2), std)) == pytest.approx([expected] * 2)


def test_only_dimensions_whose_means_vary_are_active() -> None:
    mean_NC = normal(2_000, 3) * np.array([1, 0.05, 0], np.float32) + 5
    assert active(mean_NC).tolist() == [True, False, False]


def test_ks_is_small_for_a_normal_and_exact_for_a_constant() -> None:
    z_NC = np.stack([normal(5_000), np.zeros(5_000, np.float32), normal(5_000) + 1], 1)
    near, constant, moved = ks_against_normal(z_NC)
    assert near < 0.03
    assert constant == pytest.approx(0.5)
    assert moved == pytest.approx(2 * 0.1915, abs=0.03)  # 2Φ(1/2) - 1


def test_moments_of_a_constant_are_finite() -> None:
    found = moments(np.stack([np.full(9, 2.0), np.arange(9.0)], 1).astype(np.float32))
    assert found.mean_C.tolist() == [2, 4]
    assert found.skewness_C == pytest.approx([0, 0], abs=1e-9)
    assert found.excess_kurtosis_C[0] == 0
    assert found.excess_kurtosis_C[1] < 0  # flatter than a Gaussian


# total correlation


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_total_correlation_of_a_gaussian_is_the_closed_form(rho: float) -> None:
    x_VD = normal(2_400, 2)
    x_VD[:, 1] = rho * x_VD[:, 0] + math.sqrt(1 - rho**2) * x_VD[:, 1]
    assert total_correlation(x_VD) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.09)


def test_shuffled_parts_are_independent() -> None:
    same = np.repeat(normal(2_000, 1), 2, axis=1) + 0.1 * normal(2_000, 2, seed=1)
    rng = np.random.default_rng(0)
    assert total_correlation(same) > 1
    assert abs(total_correlation(shuffle(same, rng))) < 0.1


# labels


def labeled(num: int, seed: int) -> Examples:
    """Two classes that dimension 2 of 5 tells apart."""
    y_N = torch.from_numpy(np.random.default_rng(seed).integers(2, size=num))
    x_NC = torch.from_numpy(normal(num, 5, seed=seed))
    x_NC[:, 2] += 4.0 * y_N - 2
    return Examples(x_NC, y_N)


def test_the_dimension_that_holds_the_label_is_first_by_weight_and_by_information() -> None:
    train = labeled(400, 0)
    weight_KC = standardized(fit_lbfgs(train, labeled(100, 1), 2, bias=False), train)
    nats_C = information(train.x_NC.numpy(), train.y_N.numpy(), seed=0)
    assert np.abs(weight_KC).sum(0).argmax() == 2
    assert nats_C.argmax() == 2
    assert nats_C[2] == pytest.approx(math.log(2), abs=0.15)  # classes hardly overlap
    assert max(np.delete(nats_C, 2)) < 0.1


def test_shares_of_weight() -> None:
    assert dimensions_for(0.5, np.array([1.0, 1, 1, 1])) == 2
    assert dimensions_for(0.5, np.array([0, 0, 9.0, 1])) == 1
    assert dimensions_for(0.9, np.array([0.0, 0])) == 2
    assert cumulative_share(np.array([1.0, 3])).tolist() == [0.75, 1]


# maps


def test_neighbors_are_sought_in_other_utterances() -> None:
    x_NC = np.array([[0], [0.1], [5], [5.1]], np.float32)
    assert nearest_elsewhere(x_NC, np.array([0, 0, 1, 1])).tolist() == [2, 2, 1, 1]
    assert nearest_elsewhere(x_NC, np.zeros(4, np.int64)).tolist() == [NO_LABEL] * 4


def test_neighbors_share_labels_beyond_chance() -> None:
    labels_N, nearest_N = np.array([0, 0, 1, 1, NO_LABEL]), np.array([1, 0, 3, 4, 0])
    same, chance, num = shared(labels_N, nearest_N) or (0, 0, 0)
    assert (same, num) == (1, 3)  # the last two pairs have a frame without a label
    assert chance == pytest.approx((2 / 3) ** 2 + (1 / 3) ** 2)
    assert shared(np.full(5, NO_LABEL), nearest_N) is None


def test_a_line_has_one_principal_component() -> None:
    variance_C, components_2C, mean_C = principal(normal(50, 1) * np.array([[3, 4]], np.float32) + 1)
    assert variance_C[1] == pytest.approx(0, abs=1e-5)
    assert np.abs(components_2C[0]) == pytest.approx([0.6, 0.8], abs=1e-5)
    assert len(mean_C) == 2


@given(st.integers(4, 5_000))
def test_t_sne_has_more_points_than_its_perplexity(num: int) -> None:
    assert 1 <= perplexity(num) < num


# contribution


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


def test_the_score_is_relative_to_no_swap() -> None:
    score_S, low_S, high_S = relative(np.array([[2.0, 1, 0], [4, 1, 0], [6, 4, 0]]), seed=0)
    assert score_S.tolist() == [1, 0.5, 0]
    assert (low_S[0], high_S[0], low_S[2], high_S[2]) == (1, 1, 0, 0)
    assert low_S[1] <= 0.5 <= high_S[1]


# smoothness


def test_a_straight_even_path_has_ratio_one() -> None:
    a_TM, b_TM = torch.from_numpy(normal(5, 4)), torch.from_numpy(normal(5, 4, seed=1))
    path = path_of(torch.lerp(a_TM[None], b_TM[None], torch.linspace(0, 1, 9)[:, None, None]))
    assert path.ratio == pytest.approx(1, abs=1e-5)
    assert path.largest_share == pytest.approx(1 / 8, abs=1e-5)


def test_a_detour_is_longer_and_a_jump_is_one_step() -> None:
    corner = torch.tensor([[0.0, 0], [3, 0], [3, 4]])[:, None]
    assert path_of(corner).ratio == pytest.approx(7 / 5)
    jump = torch.tensor([[0.0], [0], [1], [1]])[:, None]
    assert (path_of(jump).ratio, path_of(jump).largest_share) == (1, 1)


def test_a_path_that_does_not_move_is_finite() -> None:
    path = path_of(torch.zeros(4, 2, 3))
    assert (path.ratio, path.largest_share) == (0, 0)


# sensitivity


def test_an_attack_on_latents_starts_clean_and_ends_wrong() -> None:
    train, test = labeled(400, 0), labeled(300, 2)
    fitted = fit_lbfgs(train, labeled(100, 1), 2)
    found = attack_latents(fitted, test)
    assert found[0] == float((fitted.predict(test.x_NC) == test.y_N).double().mean())
    assert found == sorted(found, reverse=True)
    assert LATENT_EPSILONS[-1] == 1
    assert found[-1] < 0.7 < 0.95 < found[0]
