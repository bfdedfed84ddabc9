"""Ranks of tests end for certain."""

from __future__ import annotations

import atexit
from pathlib import Path

import torch
from torch import distributed as dist
from torch import multiprocessing
from torch.nn.parallel import DistributedDataParallel

from tests.gloo_world import leave_world

RANKS = 2


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    atexit.register(Path(folder, f"interpreter {rank} ended").touch)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=RANKS)
    DistributedDataParallel(torch.nn.Linear(2, 2))  # torch keeps its group, and gloo's threads
    Path(folder, f"rank {rank}").touch()
    leave_world()


def test_a_rank_ends_its_process_and_leaves_no_interpreter_to_gloos_threads(tmp_path: Path) -> None:
    multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=RANKS)
    assert {path.name for path in tmp_path.iterdir()} - {"meet"} == {"rank 0", "rank 1"}
