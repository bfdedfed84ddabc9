"""How each dimension is distributed: moments, KL, activity, distance from N(0, 1)."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.latents.cases import SMALL, frames_of, input_of, normal
from vgim.latents.analyses.distribution import (
    DistributionAnalysis,
    active,
    kl_per_dimension,
    ks_against_normal,
    moments,
)
from vgim.latents.frame_sample import Posteriors
from vgim.latents.job import analyze


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


def test_posteriors_of_known_kl_give_its_sum_and_its_concentration() -> None:
    mu_NC = np.zeros((100, 4), np.float32)
    mu_NC[::2, 0], mu_NC[1::2, 0] = 1, -1
    std_NC = np.ones((100, 4), np.float32)
    std_NC[:, 0] = 0.5
    output = DistributionAnalysis().run(input_of(frames_of(mu_NC, Posteriors(mu_NC, std_NC))))
    nats = 0.5 * (1 + 0.25 - 1) + math.log(2)  # dimension 0; the others are N(0, 1) and hold nothing
    assert output.metrics["kl_nats_per_frame"] == pytest.approx(nats, rel=1e-6)
    assert output.metrics["kl_nats_per_dimension"] == pytest.approx(nats / 4, rel=1e-6)
    assert output.metrics["dimensions_for_half_of_kl"] == 1
    assert (output.metrics["active_share"], output.metrics["collapsed_share"]) == (0.25, 0.75)
    assert output.metrics["mean_posterior_std"] == (0.5 + 3) / 4
    assert output.tables[0].rows[0][0] == 0


def test_outputs_without_a_posterior_have_moments_and_zeros() -> None:
    mean_NC = np.zeros((100, 2), np.float32)
    mean_NC[::2, 0], mean_NC[1::2, 0] = 2, -2
    output = DistributionAnalysis().run(input_of(frames_of(mean_NC)))
    assert output.metrics["zero_share"] == 0.5
    assert output.metrics["active_share"] == 0.5
    assert output.metrics["mean_std"] == 1  # deviations 2 and 0
    assert output.metrics["mean_abs_mean"] == 0


def test_a_module_without_a_posterior_is_analyzed_too(plain_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(plain_run, tmp_path / "run")
    (result,) = analyze(str(run), SMALL.model_copy(update={"module": -1, "only": ("distribution",)}))
    assert result.module == 3
    assert "no posterior" in result.summary[0]
    assert "kl_nats_per_frame" not in result.figures
