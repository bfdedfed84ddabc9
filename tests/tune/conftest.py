"""Sweep files over runs of some milliseconds a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.tune.sweep_cases import FinishedSweep, MakeSweep, run_here
from vgim.config import ResolvedConfig
from vgim.tune.output import write_results
from vgim.tune.sweep_file import Sweep, load_sweep
from vgim.tune.trials import trials_of


@pytest.fixture(scope="session")
def tiny_sweep_in(tiny_config_in: Callable[..., ResolvedConfig]) -> MakeSweep:
    """`tiny_sweep_in(folder, {"objective.kld_weight": [0.0, 0.1]}, "train.epochs=1")`: a sweep of this space."""

    def make(folder: Path, space: dict[str, Any], *overrides: str, **keys: str) -> Sweep:
        tiny_config_in(folder)  # writes the base preset beside the sweep file
        lines = ["base: tiny", *(f"{key}: {value}" for key, value in keys.items()), "space:"]
        lines += [f"  {key}: {entry}" for key, entry in space.items()]
        file = folder / "small.yaml"
        file.write_text("\n".join(lines) + "\n")
        return load_sweep(str(file), overrides)

    return make


@pytest.fixture
def tiny_sweep(tiny_sweep_in: MakeSweep, tmp_path: Path) -> MakeSweep:
    """`tiny_sweep(space, ...)`: a sweep in the test's own folder."""
    return partial(tiny_sweep_in, tmp_path)


@pytest.fixture(scope="session")
def finished_sweep(tiny_sweep_in: MakeSweep, tmp_path_factory: pytest.TempPathFactory) -> FinishedSweep:
    """A finished sweep of two weights at two depths; no test changes its runs."""
    sweep = tiny_sweep_in(
        tmp_path_factory.mktemp("finished-sweep"),
        {"objective.kld_weight": "[0.001, 0.1]", "model.depth": "[1, 2]"},
        "train.schedule=sequential",
        "train.epochs=1",
    )
    run_here(sweep)
    return sweep, write_results(sweep, trials_of(sweep))
