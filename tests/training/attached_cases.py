"""Runs behind whose modules other runs are trained, and checkpoints that appear when a test wants them to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.training.cases import run_location, single_rank_trainer
from tests.waiting import wait_until
from vgim.config import ResolvedConfig, RunConfig
from vgim.runs.checkpoint import checkpoint_location
from vgim.training import source as source_module
from vgim.training.attach import attached_config
from vgim.training.loop import RankTrainer

Maker = Callable[..., ResolvedConfig]
SOURCE_STEPS = (3, 6)
"""Steps of the checkpoints of a source."""


def source_run(make: Callable[..., Any], *overrides: str) -> RunConfig:
    """A finished run of two modules with checkpoints at `SOURCE_STEPS`."""
    config: RunConfig = make(
        "storage.name=source",
        "model.depth=2",
        f"train.max_steps={SOURCE_STEPS[-1]}",
        f"train.checkpoint_every_steps={SOURCE_STEPS[0]}",
        "train.keep_last=9",
        *overrides,
    ).config
    single_rank_trainer(config).run()
    return config


def attached(make: Callable[..., Any], source: RunConfig, name: str, *overrides: str) -> RunConfig:
    """A config attached to `source`, with the depth that a launch gives it."""
    config = make(
        f"storage.name={name}", f"attach.run={run_location(source).uri}", "train.max_steps=8", *overrides
    ).config
    return attached_config(config, run_location(config))


def hide_newest(source: RunConfig) -> Callable[[], None]:
    """Hide the source's newest checkpoint; returns what makes it appear, `show_newest`."""
    shown, hidden = _places(source)
    shown.rename(hidden)
    return partial(show_newest, source)


def show_newest(source: RunConfig) -> None:
    """Make the source's newest checkpoint appear, which `hide_newest` has hidden."""
    shown, hidden = _places(source)
    hidden.rename(shown)


def _places(source: RunConfig) -> tuple[Path, Path]:
    run = run_location(source)
    return checkpoint_location(run, SOURCE_STEPS[-1]).local_path, Path(run.local_path, "hidden")


def appears_and_is_read(rank: RankTrainer, appear: Callable[[], None]) -> None:
    """Make a checkpoint appear, and wait until the rank has read it."""
    appear()
    wait_until(lambda: rank._attachment.ready_step == SOURCE_STEPS[-1], "the source's new checkpoint is read")


@pytest.fixture
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for checkpoints of the source at once."""
    monkeypatch.setattr(source_module, "LOCAL_POLL_S", 0.01)
