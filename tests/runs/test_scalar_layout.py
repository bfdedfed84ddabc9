"""The layout of TensorBoard's Custom Scalars, as its own reader finds it."""

from __future__ import annotations

import re
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from vgim.runs.metrics_writer import MetricsWriter
from vgim.runs.scalar_layout import scalar_layout
from vgim.storage import Location


def test_a_runs_layout_has_the_losses_of_all_modules_first(tmp_path: Path) -> None:
    writer = MetricsWriter(Location(tmp_path), 0)
    writer.hparams(
        {"model.channels": 8}, ["validation/loss", "validation/module0/nce", "validation/module1/nce"]
    )
    writer.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (event,) = board.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == ["Modules", "Optimizer", "Speed"]
    charts = [chart for category in layout.category for chart in category.chart]
    assert [chart.title for chart in charts[:2]] == ["InfoNCE (nats), validation", "InfoNCE (nats), train"]
    (pattern,) = charts[0].multiline.tag
    tags = [
        "validation/module0/nce",
        "validation/module12/nce",
        "train/module0/nce",
        "validation/module0/nce_k1",
    ]
    assert [tag for tag in tags if re.search(pattern, tag)] == tags[:2]


def test_a_decoders_layout_has_its_distances(tmp_path: Path) -> None:
    layout = scalar_layout(["validation/loss", "validation/module0/si_sdr_db"])
    titles = list(layout["Modules"])
    assert titles[0] == "SI-SDR (dB), validation"
    assert "log-spectral distance (dB), validation" in titles
    assert "loss, train" in titles
