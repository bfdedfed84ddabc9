"""Eight nodes of one CPU, each in a network of its own, do all jobs while nodes die, are cut off and join."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.node_network import why_no_namespaces
from tests.simulated_cluster import SimulatedCluster
from tests.training.cases import assert_same
from vgim.cli import main
from vgim.config.schema import SyntheticConfig
from vgim.data.shards.embedded import prepare_embedded
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.metrics import read_metrics
from vgim.storage import Location

BASE = """
extends: quickstart
model: {{channels: 8, gru_units: 8}}
data: {{shards: {shards}, crop_samples: 5120, shuffle_window: 12, synthetic: null}}
train: {{batch_size: 2, epochs: 4, checkpoint_every_steps: 2, validate_every_epochs: 4, log_every_steps: 1}}
cluster: {{threads_per_worker: 1}}
storage: {{root: {root}, name: sim}}
"""
ELASTIC = ("cluster.workers=2..6", "cluster.device=cpu", "cluster.autoscaling=true")
GROW, KILL, CUT = 3, 5, 7  # steps before which the ranks wait, each a step after a checkpoint
SWEEP = """
base: sim
overrides: [train.epochs=2, cluster.workers=1, cluster.cpus_per_worker=1]
space: {optim.learning_rate: [1e-4, 2e-4, 5e-4, 1e-3]}
"""
PROBE = ("--task", "speaker", "--all-modules", "--encoder", "trained")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SimulatedCluster]:
    if not os.environ.get("VGIM_NODES"):
        pytest.skip("takes up to a quarter of an hour: make eight-nodes")
    if reason := why_no_namespaces():
        pytest.skip(reason)
    # A node that does not answer is given up after 10 seconds, not after 50.
    cluster = SimulatedCluster(tmp_path / "nodes", {"RAY_health_check_timeout_ms": "2000"})
    try:
        yield cluster
    finally:
        cluster.close()


def record_of(run: Location) -> RunRecord:
    record = RunFolder(run).record()
    assert record is not None
    return record


def run_here(*arguments: str) -> None:
    main.main(list(arguments), standalone_mode=False)


def trials_in(folder: Location) -> list[Location]:
    return [folder.child(name) for name in folder.list()] if folder.exists() else []


def accuracies(run: Location) -> dict[str, float]:
    probes = run.child("probes")
    names = [name for name in probes.list() if not name.endswith(".png")]  # a picture of all modules
    return {name: json.loads(probes.child(name, "result.json").read_text())["accuracy"] for name in names}


def test_eight_nodes_prepare_and_train_while_nodes_join_die_and_are_cut_off(
    cluster: SimulatedCluster, tmp_path: Path
) -> None:
    corpus, shards, runs, config = (tmp_path / name for name in ("corpus", "shards", "runs", "sim.yaml"))
    run_here("data", "synth", "--out", str(corpus), "--speakers", "4", "--utterances", "48")
    config.write_text(BASE.format(shards=shards, root=runs))
    cluster.add_nodes(5)
    prepare = ("ray_jobs/prepare.py", "librispeech", "--corpus", str(corpus), "--out", str(shards))
    cluster.submit(*prepare).succeed()

    run, cut_off = Location(str(runs / "sim")), _train(cluster, config, tmp_path)
    told = [r["message"] for r in read_metrics(run) if r["kind"] == "event"]
    lost = [message for message in told if "were lost" in message]
    assert [message.partition(":")[0] for message in lost] == [
        f"workers were lost and started again ({number} so far)" for number in (1, 2)
    ]
    assert f"its node {cut_off} is gone" in lost[1], lost
    assert [r["step"] for r in read_metrics(run) if r["kind"] == "train"] == list(range(1, 13))
    run_here("train", str(config), "cluster.workers=0", "train.virtual_ranks=6", "storage.name=alone")
    one, other = (complete_checkpoints(Location(str(runs / name)))[-1] for name in ("sim", "alone"))
    assert one.state.step == other.state.step == 12
    for name, tensor in other.weights().items():
        torch.testing.assert_close(
            one.weights()[name], tensor, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    # The worker of a node that was cut off is left: Ray does not end it within 5 minutes of the node's return.
    cluster.wait_until_empty()


def test_eight_nodes_sweep_and_probe_while_one_dies_and_one_joins(
    cluster: SimulatedCluster, tmp_path: Path
) -> None:
    shards, runs, config, sweep_file = (
        tmp_path / name for name in ("shards", "runs", "sim.yaml", "rates.yaml")
    )
    prepare_embedded(shards, SyntheticConfig(speakers=4, utterances=48))
    config.write_text(BASE.format(shards=shards, root=runs))
    sweep_file.write_text(SWEEP)
    run_here("train", str(config), "cluster.workers=0")
    copy, run, trials = tmp_path / "copy", Location(str(runs / "sim")), Location(str(runs / "rates/trials"))
    shutil.copytree(runs / "sim", copy)
    cluster.add_nodes(7)

    job = cluster.submit("ray_jobs/sweep.py", str(sweep_file))
    job.wait_for(lambda: any(map(_trains, trials_in(trials))), "a trial trains")
    cluster.kill(cluster.node_of("RayTrainWorker"))
    job.succeed()
    assert len(trials_in(trials)) == 4
    for trial in trials_in(trials):
        assert record_of(trial).state == "finished", trial.uri
        rate = trial.name.removeprefix("learning_rate")
        settings = (f"optim.learning_rate={rate}", "train.epochs=2", "cluster.workers=0")
        run_here("train", str(config), *settings, f"storage.name={trial.name}")
        one, other = (complete_checkpoints(r)[-1] for r in (trial, Location(str(runs / trial.name))))
        assert_same(one.weights(), other.weights())

    job = cluster.submit("ray_jobs/probe.py", run.uri, *PROBE, "--workers", "3")
    cluster.add_nodes(1)
    job.succeed()
    run_here("probe", str(copy), *PROBE)
    assert accuracies(run) == accuracies(Location(str(copy)))
    cluster.wait_until_empty()


def _train(cluster: SimulatedCluster, config: Path, marks: Path) -> str:
    """Train while three nodes join, one is killed and one is cut off; returns the address of the last."""
    grown, killed, cut = (marks / name for name in ("grown", "killed", "cut"))
    holds = [str(x) for pair in ((GROW, grown), (KILL, killed), (CUT, cut)) for x in pair]
    job = cluster.submit("-m", "tests.held_job", *holds, "ray_jobs/train.py", str(config), *ELASTIC)
    run = Location(str(marks / "runs" / "sim"))

    def wait_for_checkpoint(step: int) -> None:
        path = run.child("checkpoints", f"step-{step:08}", "state.json")
        job.wait_for(path.exists, f"a checkpoint at step {step}")

    wait_for_checkpoint(GROW - 1)
    assert record_of(run).world_size == 5
    cluster.add_nodes(3)
    job.wait_for(lambda: record_of(run).world_size == 6, "six workers train")
    grown.touch()

    wait_for_checkpoint(KILL - 1)
    attempts = record_of(run).attempts
    cluster.kill(cluster.node_of("RayTrainWorker"))
    job.wait_for(lambda: record_of(run).attempts == attempts + 1, "workers start after a node was killed")
    killed.touch()

    wait_for_checkpoint(CUT - 1)
    host = cluster.node_of("RayTrainWorker")
    cluster.cut_off(host)
    job.wait_for(lambda: record_of(run).attempts == attempts + 2, "workers start after a node was cut off")
    assert record_of(run).world_size == 6
    cut.touch()
    job.succeed()
    assert record_of(run).state == "finished"
    cluster.reconnect(host)  # only now it hears that it is no part of the cluster
    return host.address


def _trains(trial: Location) -> bool:
    record = RunFolder(trial).readable_record()
    return record is not None and record.attempts > 0
