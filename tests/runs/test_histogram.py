"""Histograms have the bins of torch's SummaryWriter, and survive what is sent between ranks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from vgim.runs.histogram import Histogram, histogram_of
from vgim.runs.metrics_writer import MetricsWriter
from vgim.storage import Location


def of(values: Tensor) -> Histogram:
    histogram = histogram_of(values)
    assert histogram is not None
    return histogram


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(3, 50, 7, generator=torch.Generator().manual_seed(0)),
        torch.randn(400, generator=torch.Generator().manual_seed(1)).exp(),
        torch.tensor([-2.5]),
        torch.tensor([0.0, 0.0, 1.0, -1e-13]),
        torch.tensor([1e-12, -1e-12, 1e19, -1e19]),
    ],
    ids=["normal", "positive", "one", "zeros", "borders"],
)
def test_a_histogram_reads_back_as_that_of_torch(tmp_path: Path, values: Tensor) -> None:
    writer = MetricsWriter(Location(tmp_path), 0)
    writer.histogram("h", Histogram(*json.loads(json.dumps(of(values)))), 3)
    writer.close()
    with SummaryWriter(str(tmp_path / "torch")) as torchs:
        torchs.add_histogram("h", values.double(), 3)
    (one,) = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Histograms("h")
    (other,) = EventAccumulator(str(tmp_path / "torch")).Reload().Histograms("h")
    assert one.step == other.step == 3
    mine, expected = one.histogram_value, other.histogram_value
    assert mine.bucket == expected.bucket
    assert mine.bucket_limit == pytest.approx(expected.bucket_limit, rel=1e-12)
    assert (mine.min, mine.max, mine.num) == (expected.min, expected.max, expected.num)
    assert (mine.sum, mine.sum_squares) == pytest.approx((expected.sum, expected.sum_squares), rel=1e-12)


def test_values_that_are_not_finite_are_left_out() -> None:
    assert histogram_of(torch.full((3, 2), math.nan)) is None
    assert histogram_of(torch.empty(0)) is None
    assert of(torch.tensor([[1.0, math.inf], [2.0, math.nan]])) == of(torch.tensor([1.0, 2.0]))


def test_values_past_the_last_bin_are_counted_as_the_largest() -> None:
    huge = of(torch.tensor([3e38, -3e38, 0.5]))
    assert huge.num == sum(huge.counts) == 3
    assert (huge.min, huge.max) == (-1e19, 1e19)
