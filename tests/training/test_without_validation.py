"""Training on shards without a validation split: it says so, and refuses what needs validation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from tests.embedded import shards_of_train_alone
from tests.gloo_world import leave_world
from tests.training.cases import last_checkpoint, records, run_location, single_rank_trainer
from vgim.config import ResolvedConfig, RunConfig
from vgim.data.stream.readers import read_in_process
from vgim.errors import ConfigError
from vgim.model.rank_group import RankGroup
from vgim.runs.checkpoint import best_checkpoint, complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.listing import summarize_run
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]


@pytest.fixture
def whole_train(tmp_path: Path) -> str:
    """Shards of an embedded corpus whose 16 utterances are all in train."""
    return str(shards_of_train_alone(tmp_path, speakers=2, utterances=16))


def test_a_run_trains_and_its_best_checkpoint_is_the_newest(tiny_config: Maker, whole_train: str) -> None:
    for epochs in (2, 3):  # the second call continues
        resolved = tiny_config(f"data.shards={whole_train}", f"train.epochs={epochs}", "train.keep_last=2")
        assert train(resolved) == 0
    run = run_location(resolved.config)
    assert not records(str(run), "validation")
    said = [record["message"] for record in records(str(run), "event")]
    assert sum("no validation split" in message for message in said) == 2
    checkpoints = complete_checkpoints(run)
    assert len(checkpoints) == 2
    assert best_checkpoint(run.uri).state == checkpoints[-1].state
    assert checkpoints[-1].state.validation_loss is None
    summary = summarize_run(RunFolder(run))
    assert (summary.state, summary.best_loss, summary.nce) == ("finished", None, ())


def test_early_stopping_is_refused_before_the_run_is_claimed(tiny_config: Maker, whole_train: str) -> None:
    resolved = tiny_config(f"data.shards={whole_train}", "train.early_stop_validations=3")
    with pytest.raises(
        ConfigError, match=r"early_stop_validations=3, but .* no validation split.*set it to 0, or"
    ):
        train(resolved)
    assert not run_location(resolved.config).exists()


def one_of_two_ranks(rank: int, folder: str, config: RunConfig) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", timedelta(minutes=10), rank=rank, world_size=2)
    location = run_location(config)
    location.make_dirs()
    worker = Worker(RankGroup.of_world(), torch.device("cpu"), read_in_process, lambda *_: None)
    RankTrainer(TrainJob(config=config, run=location.uri, learner=GreedyLearner), worker).run()
    leave_world()


def test_ranks_read_frozen_modules_with_the_same_statistics(
    tiny_config: Maker, whole_train: str, tmp_path: Path
) -> None:
    keys = [f"data.shards={whole_train}", "train.schedule=sequential", "train.epochs=1", "train.batch_size=2"]
    keys += ["train.virtual_ranks=2", "model.batch_norm=local"]
    alone, together = (tiny_config(*keys, f"storage.name={name}").config for name in ("alone", "together"))
    single_rank_trainer(alone).run()
    multiprocessing.spawn(one_of_two_ranks, (str(tmp_path), together), nprocs=2)
    expected = last_checkpoint(alone).weights()
    for name, tensor in last_checkpoint(together).weights().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6, msg=name)
