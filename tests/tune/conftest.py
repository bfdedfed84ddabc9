"""Sweep files over runs of some milliseconds a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vgim.config import ResolvedConfig
from vgim.tune.sweep_file import Sweep, load_sweep


@pytest.fixture
def tiny_sweep(tmp_path: Path, tiny_config: Callable[..., ResolvedConfig]) -> Callable[..., Sweep]:
    """`tiny_sweep({"objective.kld_weight": [0.0, 0.1]}, "train.epochs=1")`: a sweep file with this space, loaded."""

    def make(space: dict[str, Any], *overrides: str, **keys: str) -> Sweep:
        tiny_config()  # writes the base beside
        lines = ["base: tiny", *(f"{key}: {value}" for key, value in keys.items()), "space:"]
        lines += [f"  {key}: {entry}" for key, entry in space.items()]
        file = tmp_path / "small.yaml"
        file.write_text("\n".join(lines) + "\n")
        return load_sweep(str(file), overrides)

    return make
