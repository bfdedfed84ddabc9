"""Runs in groups by their seeds, and the groups' names."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from vgim.compare.seed_groups import group_by_seed
from vgim.config import load_config
from vgim.config.keys import dump
from vgim.config.yaml_text import to_block

RUNS = {"sim-0": (0, 64), "sim-1": (1, 64), "sim": (0, 32)}
"""Seed and channels of each run."""


@pytest.mark.parametrize("order", list(permutations(RUNS)))
def test_a_run_that_is_called_like_the_beginning_of_a_group_stays_beside_it(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    for name, (seed, channels) in RUNS.items():
        config = load_config("quickstart", [f"train.seed={seed}", f"model.channels={channels}"]).config
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(to_block(dump(config)))
    groups = group_by_seed([str(tmp_path / name) for name in order])
    found = {name: [folder.name for folder in members] for name, members in groups.items()}
    assert found == {"sim": ["sim"], "sim-0": ["sim-0", "sim-1"]}
