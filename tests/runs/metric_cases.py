"""Records of metrics for tests, and TensorBoard's reader of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from vgim.runs.histogram import Histogram

PER_MODULE = ("loss", "nce", "kl", "kl_per_element", "kl_per_frame", "accuracy", "active_units")
HISTOGRAM = Histogram(0.0, 4.0, 3, 6.0, 20.0, [-1.0, 1.0, 3.0, 5.0], [0, 1, 1, 1])
"""Histogram of the values 0, 2 and 4."""


def board(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0})
    reader.Reload()
    return reader


def histograms(run: Path) -> dict[str, list[tuple[int, Any]]]:
    """Step and values of all histograms of a run, by tag."""
    reader = board(run)
    return {
        tag: [(event.step, event.histogram_value) for event in reader.Histograms(tag)]
        for tag in reader.Tags()["histograms"]
    }


def figures(value: float = 1.0) -> dict[str, Any]:
    return {"module": 0, **dict.fromkeys((*PER_MODULE, "grad_norm"), value)}


def train_record(step: int, value: float = 1.0) -> dict[str, Any]:
    names = (
        "learning_rate",
        "kld_weight",
        "crops_per_s",
        "steps_per_s",
        "data_wait_s",
        "compute_s",
        "overhead_s",
    )
    return {
        "step": step,
        "epoch": step / 10,
        "last_step": 20,
        **dict.fromkeys(names, value),
        "modules": [figures(value)],
    }
