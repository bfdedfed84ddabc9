"""Config keys beside a run's size and cost by which representations differ, and their rows in a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vgim.config import RunConfig
from vgim.config.schema import AugmentConfig
from vgim.config.yaml_text import to_flow


class HasSettings(Protocol):
    """A run or a group of runs in a comparison."""

    @property
    def settings(self) -> dict[str, str]: ...


def settings_of(config: RunConfig) -> dict[str, str]:
    """The values of a run as text, by the last part of the key."""
    objective, off = config.objective, AugmentConfig()
    kinds = [f"{key} {value:g}" for key, value in config.data.augment if value != getattr(off, key)]
    return {
        "gru_units": str(config.model.gru_units),
        "gru_bidirectional": to_flow(config.model.gru_bidirectional),
        "posterior_norm": config.model.posterior_norm,
        "preemphasis": f"{config.model.preemphasis:g}",
        "normalize": config.data.normalize,
        "augment": ", ".join(kinds) or "none",
        "negatives": objective.negatives,
        "prediction_steps": to_flow(objective.plain_steps),
        "target_rate": f"{config.target_rate:g} nats" if config.target_rate else "none",
    }


def settings_rows(compared: Sequence[HasSettings], unknown: str) -> list[tuple[str, ...]]:
    """A row for each setting that is not the same everywhere.

    Args:
        unknown: Stands for a setting that an older record lacks.
    """
    keys = dict.fromkeys(key for one in compared for key in one.settings)
    rows = [(key, *(one.settings.get(key, unknown) for one in compared)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1]
