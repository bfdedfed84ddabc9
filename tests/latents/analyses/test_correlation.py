"""Total correlation of few dimensions and of frames in a row, where the closed form is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from tests.latents.cases import SMALL, frames_of, input_of, normal
from vgim.latents.analyses.correlation import CorrelationAnalysis, mean_interval
from vgim.latents.frame_sample import WINDOW


def test_an_interval_over_subsets_is_students_t() -> None:
    mean, low, high = mean_interval(np.array([1.0, 2, 3]))
    half = stats.t.ppf(0.975, 2) / math.sqrt(3)
    assert (low, mean, high) == pytest.approx((2 - half, 2, 2 + half), rel=1e-4)
    assert mean_interval(np.array([5.0])) == (5, 5, 5)


def test_independent_dimensions_that_do_not_move_correlate_over_time_alone() -> None:
    """Each window repeats its first frame up to a noise of deviation 0.5: frames correlate by 0.8."""
    first_V1C, noise_VWC = normal(1_000, 1, 4), normal(1_000, WINDOW, 4, seed=1)
    windows_VWC = first_V1C + 0.5 * noise_VWC
    options = SMALL.model_copy(update={"density_frames": 1_000})
    output = CorrelationAnalysis().run(input_of(frames_of(windows_VWC[:, 0], None, windows_VWC), options))
    assert len(output.csv_files["subsets.csv"].rows) == 8  # dimensions and time, 2 and 4 of each, 2 subsets
    rho = 1 / 1.25
    assert output.metrics["dimensions_2_excess_nats"] == pytest.approx(0, abs=0.1)
    assert output.metrics["time_2_excess_nats"] == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.1)
    for size in (2, 4):  # kernels smooth, so that estimates are below the truth
        log_det = (size - 1) * math.log(1 - rho) + math.log(1 + (size - 1) * rho)
        assert 0.5 * -0.5 * log_det < output.metrics[f"time_{size}_excess_nats"] < 1.1 * -0.5 * log_det


def test_copies_are_left_out_and_counted() -> None:
    windows_VWC = np.repeat(np.repeat(normal(120, 1, 1), WINDOW, axis=1), 4, axis=2)
    output = CorrelationAnalysis().run(input_of(frames_of(windows_VWC[:, 0], None, windows_VWC)))
    assert output.csv_files["subsets.csv"].rows == []
    assert any(note.startswith("8 subsets were left out") for note in output.notes)


def test_dead_dimensions_leave_too_little_to_estimate() -> None:
    windows_VWC = normal(120, WINDOW, 4)
    windows_VWC[..., 1] = 3
    output = CorrelationAnalysis().run(input_of(frames_of(windows_VWC[:, 0], None, windows_VWC)))
    assert "3 dimensions vary, over 120 windows" in output.summary[0]
    assert output.metrics == {}
