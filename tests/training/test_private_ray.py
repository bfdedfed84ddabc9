"""A run on one worker of a private Ray, which starts fewer processes than Ray Train does by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.cases import (
    assert_same,
    last_checkpoint,
    records,
    run_location,
    without_timings,
)
from vgim.config import ResolvedConfig
from vgim.training.trainer import train

ROOT = Path(__file__).resolve().parents[2]

DRIVER = """
import sys
from pathlib import Path
from tests.faults import kill_once, workers_with
from vgim.config import load_config
from vgim.training import on_ray
from vgim.training.trainer import train
preset, mark, *overrides = sys.argv[1:]
on_ray._train_worker = workers_with(kill_once(Path(mark), rank=0, at_step=8))
train(load_config(preset, overrides))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_one_local_worker_is_replaced_when_it_is_lost_and_ends_as_a_run_in_one_process(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path: Path
) -> None:
    settings = ["train.epochs=2", "train.checkpoint_every_steps=5"]
    folders = [tmp_path / name for name in ("alone", "ray")]
    for folder in folders:
        folder.mkdir()
    alone, on_ray = (tiny_config_in(folder, *settings) for folder in folders)
    assert train(alone) == 0
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    mark = tmp_path / "killed"
    arguments = [str(folders[1] / "tiny.yaml"), str(mark), *settings, "cluster.workers=1"]
    result = subprocess.run(
        [sys.executable, "-c", DRIVER, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**plain, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    assert mark.exists()
    assert_same(last_checkpoint(on_ray.config).weights(), last_checkpoint(alone.config).weights())
    found, expected = (
        without_timings(records(run_location(resolved.config), "train")) for resolved in (on_ray, alone)
    )
    assert found == expected
    first = records(run_location(on_ray.config), "event")[0]["message"]
    assert first == "1 worker on this machine, cpu, 1 thread"
