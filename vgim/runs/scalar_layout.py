"""What TensorBoard shows first: the group of each module's main metric, and the layout of the tab Custom Scalars."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

OF_MODULE = re.compile(r"(train|validation)/module\d+/(\w+)")
BESIDE = {
    "nce": ("accuracy", "kl_per_element", "active_units", "loss"),
    "si_sdr_db": ("log_spectral_distance_db", "loss"),
}
"""What has charts too, for the main metric of an encoder and of a decoder."""
TITLES = {
    "nce": "InfoNCE (nats)",
    "loss": "loss",
    "accuracy": "accuracy",
    "kl_per_element": "KL per element (nats)",
    "active_units": "active units",
    "si_sdr_db": "SI-SDR (dB)",
    "log_spectral_distance_db": "log-spectral distance (dB)",
}
OTHERS = {
    "Optimizer": {"learning rate": "optim/learning_rate", "KL weight": r"(optim|train/module\d+)/kld_weight"},
    "Speed": {"crops per second": "speed/crops_per_s", "steps per second": "speed/steps_per_s"},
}
FIRST_GROUPS = {"nce": "InfoNCE", "loss": "Loss"}
"""Groups of charts that stand first in the tab Time Series, by the main metric of an encoder and of a decoder.

The tab sorts groups by name, capitals before small letters, and opens the first two.
"""


def first_tag(split: str, metrics: Mapping[str, Any]) -> tuple[str, float] | None:
    """A module's main metric once more, under a tag of the first group: `InfoNCE/module0/train`, and its value.

    Args:
        split: `train` or `validation`.
        metrics: The module's metrics and its index, as a record has them.

    Returns:
        The tag and the value; None if the module has neither InfoNCE nor a loss.
    """
    name = next((name for name in FIRST_GROUPS if metrics.get(name) is not None), None)
    if name is None:
        return None
    return f"{FIRST_GROUPS[name]}/module{metrics['module']}/{split}", metrics[name]


def scalar_layout(metrics: Iterable[str]) -> dict[str, Any]:
    """Charts of a run, as `SummaryWriter.add_custom_scalars` takes them.

    Args:
        metrics: Tags of the main metrics of a run's modules; other tags are left out.
    """
    main = dict.fromkeys(match[2] for tag in metrics if (match := OF_MODULE.fullmatch(tag)))
    ordered = dict.fromkeys(name for first in main for name in (first, *BESIDE.get(first, ())))
    curves = {
        f"{TITLES.get(name, name.replace('_', ' '))}, {split}": [
            "Multiline",
            [rf"^{split}/module\d+/{name}$"],
        ]
        for name in ordered
        for split in ("validation", "train")
    }
    others = {
        group: {title: ["Multiline", [f"^{tag}$"]] for title, tag in charts.items()}
        for group, charts in OTHERS.items()
    }
    return {"Modules": curves, **others}
