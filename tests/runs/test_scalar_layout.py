"""The layout of TensorBoard's Custom Scalars, as its own reader finds it."""

from __future__ import annotations

import re
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from tests.runs.metric_cases import HISTOGRAM
from vgim.runs.metrics_writer import MetricsWriter
from vgim.runs.scalar_layout import first_tag, scalar_layout
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


def test_the_first_group_of_a_run_is_infonce_of_each_module_and_split(tmp_path: Path) -> None:
    writer = MetricsWriter(Location(tmp_path), 0)
    modules = [{"module": 0, "loss": 2.5, "nce": 2.25}, {"module": 1, "loss": 2.0, "nce": 1.75}]
    speed = {"crops_per_s": 8.0, "learning_rate": 2e-4}
    writer.train({"step": 10, "epoch": 0.5, "loss": 2.25, **speed, "modules": modules})
    writer.validation({"step": 10, "epoch": 0.5, "loss": 2.25, "modules": modules})
    writer.histogram("latents/module0/mu", HISTOGRAM, 10)
    writer.close()
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = [tag for kind in ("scalars", "histograms") for tag in board.Tags()[kind]]
    first = min(tag.partition("/")[0] for tag in tags)  # TensorBoard sorts by character codes, as Python does
    assert sorted(tag for tag in tags if tag.startswith(f"{first}/")) == [
        f"InfoNCE/module{module}/{split}" for module in (0, 1) for split in ("train", "validation")
    ]
    (point,) = board.Scalars("InfoNCE/module1/validation")
    assert (point.step, point.value) == (10, 1.75)
    assert board.Scalars("validation/module1/nce")[0].value == 1.75  # where it was before


def test_a_decoders_first_group_is_its_loss_and_a_metric_that_is_not_finite_has_no_tag() -> None:
    assert first_tag("train", {"module": 0, "loss": 0.5, "mse": 0.25}) == ("Loss/module0/train", 0.5)
    assert first_tag("train", {"module": 0, "loss": None}) is None
