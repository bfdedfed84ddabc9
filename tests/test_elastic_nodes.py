"""Nodes come and go under a run whose number of workers may change, and the weights are those of a run without that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from tests.faults import each_of, hold_until, hold_until_notice, workers_with
from tests.ray_cluster import RayCluster
from tests.training.cases import last_checkpoint, records, run_location, single_rank_trainer
from tests.waiting import wait_until
from vgim.config import ResolvedConfig, RunConfig
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder, RunRecord
from vgim.storage import Location
from vgim.training import on_ray, ray_fit
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
# A worker takes three CPUs, so that there is room for one on each node. Nine steps of three virtual ranks.
SETTINGS = (
    "cluster.workers=1..3",
    "cluster.cpus_per_worker=3",
    "train.epochs=3",
    "train.checkpoint_every_steps=2",
)


@pytest.fixture
def changing_nodes(ray_cluster: RayCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    """A cluster of two nodes that a test adds nodes to; workers are resized seconds after that."""
    monkeypatch.setattr(ray_fit, "RESIZE_INTERVAL_S", 1.0)
    ray_cluster.add_nodes(1, num_cpus=4)
    yield ray_cluster
    ray_cluster.remove_nodes()


def record_of(config: RunConfig) -> RunRecord:
    record = RunFolder(run_location(config)).record()
    assert record is not None
    return record


def has_checkpoint(run: Location, step: int) -> bool:
    return run.child("checkpoints", f"step-{step:08}", "state.json").exists()


@pytest.mark.slow
def test_a_node_that_comes_and_one_that_is_lost_change_the_workers_and_not_the_weights(
    changing_nodes: RayCluster, tiny_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown, shrunk = tmp_path / "grown", tmp_path / "shrunk"
    # Both times a step after a checkpoint, which is taken again.
    fault = each_of(hold_until(grown, at_step=3), hold_until(shrunk, at_step=7))
    monkeypatch.setattr(on_ray, "_train_worker", workers_with(fault))
    config = tiny_config(*SETTINGS).config
    run = run_location(config)

    def wait_for(condition: Callable[[], bool], what: str) -> None:
        wait_until(lambda: (not training.running() and training.result()) or condition(), what)

    with ThreadPoolExecutor(1) as thread:  # Ray starts nodes in the main thread alone
        training = thread.submit(train, tiny_config(*SETTINGS))
        wait_for(lambda: has_checkpoint(run, 2), "a checkpoint before the first hold")
        changing_nodes.add_nodes(1, num_cpus=4)
        wait_for(lambda: record_of(config).world_size == 3, "three workers train")
        grown.touch()
        wait_for(lambda: has_checkpoint(run, 6), "a checkpoint before the second hold")
        changing_nodes.kill_node_with("RayTrainWorker")
        wait_for(lambda: record_of(config).attempts == 3, "the workers start again")
        shrunk.touch()
        assert training.result() == 0

    record = record_of(config)
    assert (record.state, record.workers, record.world_size) == ("finished", "1..3", 2)
    assert (record.attempts, record.resizes) == (3, 1)
    events = [r for r in records(run, "event") if "workers" in r]
    assert [(e.get("workers_before"), e["workers"], e["step"]) for e in events] == [
        (None, 2, 0),
        (2, 3, 2),
        (3, 2, 6),
    ]
    assert events[1]["message"] == (
        "from 2 to 3 workers of at most 3: each computes 1 micro-batch of 4 crops a step, together 12 crops"
    )
    lost = [r["message"] for r in records(run, "event") if "were lost" in r["message"]]
    (told,) = lost
    assert told.startswith("workers were lost and started again (1 so far): worker ")
    assert [r["step"] for r in records(run, "train")] == list(range(1, 10))

    straight = tiny_config(*SETTINGS, "storage.name=straight").config
    single_rank_trainer(straight).run()
    expected, found = last_checkpoint(straight), last_checkpoint(config)
    assert found.state.step == expected.state.step == 9
    for name, tensor in expected.weights().items():
        torch.testing.assert_close(found.weights()[name], tensor, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.slow
def test_workers_move_off_a_node_that_will_be_taken_away_from_a_checkpoint_of_that_moment_at_no_failure(
    changing_nodes: RayCluster, tiny_config: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "1")
    monkeypatch.setenv("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", "0.2")
    written, moved = tmp_path / "written", tmp_path / "moved"
    fault = each_of(hold_until_notice(written, at_step=2), hold_until(moved, at_step=5))
    monkeypatch.setattr(on_ray, "_train_worker", workers_with(fault))
    settings = ("cluster.workers=2", "cluster.cpus_per_worker=3", "train.epochs=2", "cluster.max_failures=0")
    config = tiny_config(*settings, "train.checkpoint_every_steps=100").config
    changing_nodes.add_nodes(1, num_cpus=4)  # to which they move
    with ThreadPoolExecutor(1) as thread:
        training = thread.submit(train, tiny_config(*settings, "train.checkpoint_every_steps=100"))

        def wait_for(condition: Callable[[], bool], what: str) -> None:
            wait_until(lambda: (not training.running() and training.result()) or condition(), what)

        run = run_location(config)
        wait_for(lambda: run.child("run.json").exists() and record_of(config).attempts == 1, "workers train")
        node = changing_nodes.node_with("RayTrainWorker")
        changing_nodes.drain(node, deadline_s=600)
        wait_for(lambda: bool(complete_checkpoints(run)), "a checkpoint at the notice")
        written.touch()
        changing_nodes.drain(node, deadline_s=0)  # before its time
        wait_for(lambda: record_of(config).attempts == 2, "the workers start elsewhere")
        moved.touch()
        assert training.result() == 0
    record = record_of(config)
    assert (record.state, record.attempts, record.moves) == ("finished", 2, 1)
    told = [r["message"] for r in records(run_location(config), "event")]
    assert sum("will be taken away in " in message for message in told) == 1
    assert not any("were lost" in message for message in told)
    kept = told[-1]
    assert kept.startswith("continuing from this run's checkpoint")
    assert re.search(r"step-0000000[1-4] ", kept), kept  # a step or two after the notice
    assert [r["step"] for r in records(run_location(config), "train")] == list(range(1, 11))


@pytest.mark.slow
def test_a_run_that_waits_for_a_node_exports_for_how_long_until_the_node_has_come(
    changing_nodes: RayCluster, tiny_config: Maker
) -> None:
    settings = (
        "cluster.workers=3",
        "cluster.cpus_per_worker=3",
        "cluster.autoscaling=true",
        "storage.name=waits",
    )

    def waited_s() -> list[float]:
        """For how long the run has been without workers, by the metrics that nodes export; empty if none does."""
        lines = changing_nodes.metrics().splitlines()
        gauge = re.compile(r'ray_vgim_waiting_seconds\{.*run="waits".*\} (\S+)')
        return [float(found[1]) for line in lines if (found := gauge.match(line))]

    with ThreadPoolExecutor(1) as thread:
        training = thread.submit(train, tiny_config(*settings))

        def wait_for(condition: Callable[[], bool], what: str) -> None:
            wait_until(lambda: (not training.running() and training.result()) or condition(), what)

        wait_for(lambda: any(value > 0 for value in waited_s()), "the wait is exported")
        changing_nodes.add_nodes(1, num_cpus=4)
        wait_for(lambda: 0.0 in waited_s(), "the end of the wait is exported")
        assert training.result() == 0
