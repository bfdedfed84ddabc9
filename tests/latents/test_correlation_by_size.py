"""Total correlation at chosen sizes: which rows and sizes, and what is written."""

from __future__ import annotations

import numpy as np
import pytest

from tests.latents.cases import SMALL, frames_of, input_of, normal
from vgim.latents.analyses.correlation import CorrelationAnalysis
from vgim.latents.correlation_by_size import (
    COLUMNS,
    SizeEstimates,
    choose_rows,
    fitting_sizes,
    mean_estimates,
)
from vgim.latents.frame_sample import WINDOW


def test_sizes_are_the_published_ones_that_fit_and_all_dimensions() -> None:
    assert fitting_sizes((), 512) == (10, 50, 100, 512)
    assert fitting_sizes((), 64) == (10, 50, 64)
    assert fitting_sizes((), 8) == (8,)
    assert fitting_sizes((), 1) == ()
    assert fitting_sizes((100, 5, 64), 64) == (5, 64)


def test_rows_are_a_few_frames_of_each_utterance_and_depend_on_the_seed() -> None:
    utterance_N = np.repeat(np.arange(300), 8)
    frames = frames_of(normal(2_400, 3), utterance_N=utterance_N)
    first = choose_rows(frames, SMALL)
    assert len(first) == 5 * 300
    assert len(np.unique(first[:, 0])) == len(first)
    assert np.array_equal(first, choose_rows(frames, SMALL))
    assert not np.array_equal(first, choose_rows(frames, SMALL.model_copy(update={"seed": 1})))
    few = frames_of(normal(800, 3), utterance_N=np.repeat(np.arange(2), 400))
    assert len(choose_rows(few, SMALL.model_copy(update={"density_frames": 600}))) == 600


def test_means_leave_out_estimates_that_failed() -> None:
    good = SizeEstimates(4, 0, 5.0, 4.0, 3.0, 0.5, 2.0, -1.0, 1.5, 0.5)
    bad = good._replace(draw=1, published=7.0, split_half=None, copula=3.5)
    mean = mean_estimates([good, bad, good._replace(size=8)], 4)
    assert (mean.published, mean.split_half_excess, mean.copula_excess) == (6, 3, 2)
    assert mean_estimates([bad], 4).split_half_excess is None


def test_the_analysis_shows_both_estimators_at_each_size() -> None:
    """Twelve independent dimensions, of which one is constant."""
    z_NC = normal(600, 12)
    z_NC[:, 3] = 1
    windows_VWC = np.repeat(z_NC[:, None], WINDOW, axis=1) + 0.1 * normal(600, WINDOW, 12, seed=2)
    windows_VWC[..., 3] = 1
    options = SMALL.model_copy(update={"dims": (4, 12), "density_frames": 400})
    frames = frames_of(z_NC, None, windows_VWC, utterance_N=np.repeat(np.arange(60), 10))
    output = CorrelationAnalysis().run(input_of(frames, options))
    metrics = output.metrics
    assert metrics["copula_4_excess_nats"] == pytest.approx(0, abs=0.05)
    assert metrics["split_half_4_excess_nats"] == pytest.approx(0, abs=0.4)
    assert metrics["published_4_nats"] > 3  # the truth is 0
    assert metrics["published_4_own_kernel_share"] > 0.9
    assert {"copula_4_excess_nats", "published_4_nats"} < set(output.headlines) < set(metrics)
    assert any("12 dimensions are left out: only 11 of 12 vary." in note for note in output.notes)
    sheet = output.csv_files["sizes.csv"]
    assert sheet.columns == COLUMNS
    assert [row[:2] for row in sheet.rows] == [(4, 0), (4, 1), (4, 2)]
    (table,) = (table for table in output.tables if "chosen numbers" in table.title)
    assert [row[0] for row in table.rows] == [4]
    (picture,) = (picture for picture in output.pictures if picture.file == "sizes.png")
    assert len(picture.draw().axes) == 2
