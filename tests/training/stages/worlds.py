"""Whole runs in a gloo world of several processes, each a rank, for tests of schedules with and without stages."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path

import torch
from torch import distributed as dist
from torch import multiprocessing

from tests.gloo_world import leave_world
from tests.training.cases import run_location
from vgim.config import RunConfig
from vgim.data.stream.readers import read_in_process
from vgim.errors import VgimError
from vgim.model.rank_group import RankGroup
from vgim.training import agreement
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer

PARENT_S = 240


def train_in_world(
    folder: Path, world_size: int, configs: Mapping[str, RunConfig], *, stop_at: int = 0
) -> None:
    """Train runs one after the other with `world_size` ranks; every rank's ending is saved in `folder`.

    Args:
        stop_at: step boundary at which the rank that saves is asked to stop; 0 for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    multiprocessing.spawn(_one_rank, (world_size, str(folder), dict(configs), stop_at), nprocs=world_size)


def ending(folder: Path, rank: int, name: str) -> str:
    """How a run ended on a rank."""
    return (folder / f"{name}.{rank}").read_text()


def _one_rank(rank: int, world_size: int, folder: str, configs: dict[str, RunConfig], stop_at: int) -> None:
    torch.set_num_threads(1)
    agreement.EXCHANGE_EVERY_S = 0
    dist.init_process_group(
        "gloo", f"file://{folder}/meet", timedelta(seconds=PARENT_S), rank=rank, world_size=world_size
    )
    for name, config in configs.items():
        location = run_location(config)
        location.make_dirs()
        boundaries = count(1)

        def stop_asked(boundaries: count[int] = boundaries) -> int:
            return signal.SIGTERM if stop_at and next(boundaries) >= stop_at else 0

        worker = Worker(
            RankGroup.of_world(), torch.device("cpu"), read_in_process, lambda *_: None, stop_asked=stop_asked
        )
        try:
            job = TrainJob(config=config, run=location.uri, learner=GreedyLearner)
            ended = RankTrainer(job, worker).run()
        except VgimError as error:
            ended = f"{type(error).__name__}: {error}"
        (Path(folder) / f"{name}.{rank}").write_text(ended)
    leave_world()
