"""The line on where the ranks of a run are."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tests.training.cases import records, run_location
from vgim.config import ResolvedConfig
from vgim.training.place import Place, describe
from vgim.training.trainer import train


def test_machines_and_devices_of_the_workers_are_named() -> None:
    def gpu(node: str) -> Place:
        return Place(node, "NVIDIA L4", 4)

    assert describe([Place("this machine", "cpu", 1)]) == "1 worker on this machine, cpu, 1 thread"
    assert describe([gpu("10.0.0.4")] * 4) == "4 workers on 10.0.0.4, NVIDIA L4 each"
    assert describe([gpu("10.0.0.4"), gpu("10.0.0.4"), Place("10.0.0.5", "cpu", 2)]) == (
        "3 workers: 2 on 10.0.0.4 (NVIDIA L4 each), 1 on 10.0.0.5 (cpu, 2 threads)"
    )


def test_a_run_in_this_process_says_its_device_first(tiny_config: Callable[..., ResolvedConfig]) -> None:
    resolved = tiny_config("cluster.workers=0", "train.max_steps=1", "cluster.threads_per_worker=1")
    assert train(resolved) == 0
    first = records(run_location(resolved.config), "event")[0]["message"]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu, 1 thread"
    assert first == f"training in this process, {device}"
