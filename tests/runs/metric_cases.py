"""Records of metrics for tests, and TensorBoard's reader of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PER_MODULE = ("loss", "nce", "kl", "kl_per_element", "kl_per_frame", "accuracy", "active_units")


def board(folder: Path) -> EventAccumulator:
    reader = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "histograms": 0})
    reader.Reload()
    return reader


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
