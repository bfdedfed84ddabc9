"""Encoders of many greedy modules: each learns from its own loss, however many modules are before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.cases import (
    assert_same,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
)
from vgim.config import ResolvedConfig, load_config
from vgim.errors import CheckpointError
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
DEEP = ("model.extra_modules=4",)


def test_every_module_of_the_deep_preset_learns(tiny_shards: Path, tmp_path: Path) -> None:
    config = load_config(
        "librispeech-sim-deep",
        [
            f"data.shards={tiny_shards}",
            "data.crop_samples=5120",
            "model.channels=16",
            "model.gru_units=16",
            "objective.prediction_steps=4",
            "optim.learning_rate=3e-3",
            "train.max_steps=100",
            "train.log_every_steps=10",
            "train.validate_every_epochs=100",
            "cluster.workers=0",
            "cluster.device=cpu",
            "cluster.threads_per_worker=1",
            f"storage.root={tmp_path / 'runs'}",
        ],
    ).config
    single_rank_trainer(config).run()
    written = records(run_location(config), "train")
    start, end = ([module["nce"] for module in record["modules"]] for record in (written[0], written[-1]))
    assert len(start) == len(end) == 8
    assert all(after < before - 0.3 for before, after in zip(start, end, strict=True)), (start, end)


def test_a_deep_sequential_run_continues_a_shallower_one(tiny_config: Maker) -> None:
    settings = (*DEEP, "train.schedule=sequential", "train.max_steps=4", "train.epochs=1")
    whole = tiny_config(*settings, "storage.name=whole").config
    single_rank_trainer(whole).run()
    before = None
    for depth in (4, 6, 8):
        resolved = tiny_config(*settings, f"model.depth={depth}", f"storage.name=depth{depth}")
        assert train(resolved, resume_from=before) == 0
        before = run_location(resolved.config).uri
    assert_same(last_checkpoint(resolved.config).weights(), last_checkpoint(whole).weights())


def test_a_checkpoint_with_other_extra_modules_is_of_another_architecture(tiny_config: Maker) -> None:
    short = ("train.max_steps=1",)
    plain = tiny_config(*short, "storage.name=plain")
    train(plain)
    deep = tiny_config(*short, *DEEP, "storage.name=deep")
    with pytest.raises(CheckpointError, match=r"model\.extra_modules=0 there, 4 here"):
        train(deep, init_from=run_location(plain.config).uri)
