"""What all sections of a config share: their base class, the bounds of their numbers, and the mark of free keys.

A field marked `MAY_CHANGE` may differ when an interrupted run is continued: it changes neither the weights that a
step computes nor the order of the data. A run refuses to continue if any other field differs.
"""

from __future__ import annotations

import os
from typing import Any

from pydantic import BaseModel, ConfigDict

MAY_CHANGE: dict[str, Any] = {"may_change": True}

# Every number has an upper bound, so that a slip of the keyboard is an error and not a machine without memory.
MAX_COUNT = 10**12
"""Largest number of steps or epochs."""
MAX_SEED = 2**63 - 1
"""Largest seed: what a signed integer of 64 bits holds."""
MAX_WIDTH = 16_384
"""Largest number of channels or units of a layer."""
MAX_LAYERS = 256
"""Largest number of convolutions."""
MAX_BATCH = 65_536
"""Largest number of crops in a batch, batches in a step, or batches that are prepared ahead."""
MAX_WEIGHT = 1e6
"""Largest weight of a term of a loss, and largest learning rate."""


def default_home() -> str:
    """The folder that holds runs and shards when a config names none: $VGIM_HOME or ~/vgim."""
    return os.environ.get("VGIM_HOME") or "~/vgim"


class Section(BaseModel):
    """Base of all sections of a config: frozen, without unknown keys; a field's docstring is its help text."""

    # Sections are parts of one model and seldom validated alone: what is not used is not built.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)
