"""Two ranks over gloo behind another run: both replace its modules at the same step, by the same weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from tests.gloo_world import leave_world
from tests.training.attached_cases import (
    SOURCE_STEPS,
    Maker,
    appears_and_is_read,
    attached,
    hide_newest,
    show_newest,
    source_run,
)
from tests.training.cases import assert_same, at_step, last_checkpoint, records, run_location
from tests.training.test_ranks import join_world
from vgim.config import RunConfig
from vgim.data.stream.readers import read_in_process
from vgim.runs.checkpoint import complete_checkpoints
from vgim.training import agreement
from vgim.training import source as source_module
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer

RANKS, APPEARS_AT, STEPS = 2, 3, 8


class Watched(RankTrainer):
    """A trainer that keeps the step of the source and a weight of its first module after each step."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.used: list[tuple[int | None, float]] = []

    def _between_steps(self, phase: Any, progress: Any) -> Any:
        progress, done = super()._between_steps(phase, progress)
        weight = self.learner.network.state_dict()["greedy.0.layers.conv0.weight"]
        self.used.append((progress.source_step, float(weight.double().sum())))
        return progress, done


def one_rank(rank: int, folder: str, config: RunConfig, source: RunConfig) -> None:
    group = join_world(rank, RANKS, folder)
    agreement.EXCHANGE_EVERY_S = 0
    source_module.LOCAL_POLL_S = 0.01
    worker = Worker(group, torch.device("cpu"), read_in_process, lambda metrics, checkpoint: None)
    trainer = Watched(TrainJob(config=config, run=run_location(config).uri, learner=GreedyLearner), worker)
    with pytest.MonkeyPatch.context() as patch:
        if rank == 0:  # the other rank has never read the source
            appear = partial(appears_and_is_read, trainer, partial(show_newest, source))
            at_step(patch, APPEARS_AT, appear)
        trainer.run()
    weights = {name: tensor.clone() for name, tensor in trainer.learner.network.state_dict().items()}
    torch.save({"used": trainer.used, "weights": weights}, f"{folder}/rank{rank}.pt")
    leave_world()


def test_both_ranks_use_a_newer_checkpoint_from_the_same_step_on(tiny_config: Maker, tmp_path: Path) -> None:
    source = source_run(tiny_config)
    config = attached(tiny_config, source, "attached", "train.batch_size=2", f"train.max_steps={STEPS}")
    run_location(config).make_dirs()
    hide_newest(source)
    (first,) = complete_checkpoints(run_location(source))
    multiprocessing.spawn(one_rank, (str(tmp_path), config, source), nprocs=RANKS)
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in range(RANKS))
    assert one["used"] == other["used"]
    steps = [step for step, _ in one["used"]]
    changed_at = steps.index(SOURCE_STEPS[1])
    assert steps == [SOURCE_STEPS[0]] * changed_at + [SOURCE_STEPS[1]] * (STEPS - changed_at)
    assert changed_at in (APPEARS_AT - 1, APPEARS_AT, APPEARS_AT + 1)
    assert_same(one["weights"], other["weights"])
    last = last_checkpoint(source)
    sums = [float(c.weights()["greedy.0.layers.conv0.weight"].double().sum()) for c in (first, last)]
    assert {weight for _, weight in one["used"][:changed_at]} == {sums[0]}
    assert {weight for _, weight in one["used"][changed_at:]} == {sums[1]}
    saved = last_checkpoint(config)
    assert saved.state.source_step == SOURCE_STEPS[1]
    assert_same({name: saved.weights()[name] for name in last.weights()}, last.weights())
    said = [record["message"] for record in records(run_location(config), "event")]
    assert sum("are now those of step 6" in message for message in said) == 1
