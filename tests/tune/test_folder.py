"""A sweep's folder belongs to one sweep."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tune.sweep_cases import FinishedSweep, MakeSweep
from vgim.errors import ConfigError
from vgim.tune.folder import SweepFolder


def test_another_sweep_under_the_same_name_is_refused(
    finished_sweep: FinishedSweep, tiny_sweep_in: MakeSweep
) -> None:
    sweep, _ = finished_sweep
    other = tiny_sweep_in(
        Path(sweep.base.storage.root).parent,
        {"objective.kld_weight": "[0.5]"},
        "train.schedule=sequential",
        "optim.learning_rate=0.5",
    )
    with pytest.raises(
        ConfigError, match=r"exists with other settings \(space: .*optim.learning_rate: 0.001 → 0.5"
    ):
        SweepFolder(other.folder).claim(other)
