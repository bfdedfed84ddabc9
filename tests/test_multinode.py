"""A cluster of three nodes takes jobs: prepare, train on two of the nodes while one is lost, probe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from tests.ray_cluster import RayCluster
from tests.training.cases import assert_same
from tests.waiting import LIMIT_S, wait_until
from vgim.cli import main
from vgim.config.schema import SyntheticConfig
from vgim.data.shards.embedded import prepare_embedded
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder, RunRecord
from vgim.runs.metrics import read_metrics
from vgim.storage import Location

ROOT = Path(__file__).resolve().parent.parent
HELD_STEP = 7  # two steps after the first checkpoint
HELD = ("-m", "tests.held_job", str(HELD_STEP))
# A rank takes 2.5 CPUs, so that no node holds two; without one node there is still room for both.
TRAINING = """
extends: quickstart
model: {{channels: 8, gru_units: 8}}
data: {{shards: {shards}, crop_samples: 5120, shuffle_window: 12, synthetic: null}}
train: {{batch_size: 4, epochs: 3, checkpoint_every_steps: 5, validate_every_epochs: 3, log_every_steps: 1}}
cluster: {{workers: 2, device: cpu, threads_per_worker: 1, cpus_per_worker: 2.5}}
storage: {{root: {root}, name: sim}}
"""


@pytest.fixture
def three_nodes(ray_cluster: RayCluster) -> Iterator[RayCluster]:
    ray_cluster.add_nodes(2, num_cpus=4)
    yield ray_cluster
    ray_cluster.remove_nodes()


def submit(
    cluster: RayCluster, *command: str, output: IO[str] | int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Submit a job as the documentation does, and follow its output."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "ray.scripts.scripts", "job", "submit"),
            *("--working-dir", str(ROOT), "--", sys.executable, *command),
        ],
        env={**os.environ, "RAY_API_SERVER_ADDRESS": cluster.dashboard, "PYTHONPATH": str(ROOT)},
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(job: subprocess.Popen[str]) -> str:
    output, _ = job.communicate(timeout=2 * LIMIT_S)
    assert job.returncode == 0, output
    return output


def wait_while_running(job: subprocess.Popen[str], condition: Callable[[], bool], what: str) -> None:
    def is_met() -> bool:
        assert job.poll() is None, job.communicate()[0]
        return condition()

    wait_until(is_met, what)


@pytest.mark.slow
def test_three_nodes_prepare_train_and_probe_though_one_is_lost(
    three_nodes: RayCluster, tmp_path: Path
) -> None:
    corpus, shards, config = tmp_path / "corpus", tmp_path / "shards", tmp_path / "sim.yaml"
    arguments = ["data", "synth", "--out", str(corpus), "--speakers", "4", "--utterances", "48"]
    main.main(arguments, standalone_mode=False)
    config.write_text(TRAINING.format(shards=shards, root=tmp_path / "runs"))
    run, restarted = Location(str(tmp_path / "runs/sim")), tmp_path / "restarted"
    output_of(
        submit(
            three_nodes,
            *("ray_jobs/prepare.py", "librispeech", "--corpus", str(corpus), "--out", str(shards)),
        )
    )
    assert (shards / "manifest.json").exists()

    job = submit(three_nodes, *HELD, str(restarted), "ray_jobs/train.py", str(config))
    wait_while_running(job, lambda: bool(complete_checkpoints(run)), "the run has a checkpoint")
    wait_while_running(job, lambda: "ray_vgim_nce{" in three_nodes.metrics(), "nodes export the run's loss")
    three_nodes.kill_node_with("RayTrainWorker")
    # Only then may they go on: a rank whose node is lost lives for a moment, in which it could take more steps.
    wait_while_running(job, lambda: record_of(run).attempts == 2, "the workers start again")
    restarted.touch()
    output = output_of(job)
    assert record_of(run).state == "finished", output
    steps = [r["step"] for r in read_metrics(run) if r["kind"] == "train"]
    assert steps == list(range(1, 16))
    told = [r["message"] for r in read_metrics(run) if r["kind"] == "event"]
    assert any("workers were lost and started again (1 so far)" in message for message in told), told
    assert f"checkpoints/step-{HELD_STEP - 2:08}" in told[-1]

    output = output_of(
        submit(three_nodes, "ray_jobs/probe.py", run.uri, "--task", "speaker", "--encoder", "trained")
    )
    assert "speaker" in output
    assert run.child("probes").list()


STAGED = """
extends: quickstart
model: {{channels: 8, gru_units: 8}}
data: {{shards: {shards}, crop_samples: 5120, shuffle_window: 12, synthetic: null}}
train: {{batch_size: 2, epochs: 2, checkpoint_every_steps: 5, validate_every_epochs: 2, log_every_steps: 1, {train}}}
cluster: {{workers: {workers}, device: cpu, threads_per_worker: 1, cpus_per_worker: {cpus}}}
storage: {{root: {root}, name: {name}}}
"""


@pytest.mark.slow
def test_a_run_whose_stages_have_a_node_each_loses_one_and_ends_with_the_weights_of_one_process(
    three_nodes: RayCluster, tmp_path: Path
) -> None:
    three_nodes.add_nodes(1, num_cpus=4)  # to which the lost stage moves
    shards, restarted = tmp_path / "shards", tmp_path / "restarted"
    prepare_embedded(shards, SyntheticConfig(speakers=4, utterances=48))
    common = {"shards": shards, "root": tmp_path / "runs"}
    staged, alone = tmp_path / "staged.yaml", tmp_path / "alone.yaml"
    stages = "schedule: parallel, placement: [[0], [1], [2, 3]]"
    staged.write_text(STAGED.format(name="staged", workers=3, cpus=2.5, train=stages, **common))
    alone.write_text(STAGED.format(name="alone", workers=0, cpus="auto", train="virtual_ranks: 3", **common))
    run = Location(str(tmp_path / "runs/staged"))

    job = submit(three_nodes, *HELD, str(restarted), "ray_jobs/train.py", str(staged))
    wait_while_running(job, lambda: bool(complete_checkpoints(run)), "the run has a checkpoint")
    three_nodes.kill_node_with("RayTrainWorker")
    wait_while_running(job, lambda: record_of(run).attempts == 2, "the workers start again")
    restarted.touch()
    output = output_of(job)
    assert record_of(run).state == "finished", output
    told = [r["message"] for r in read_metrics(run) if r["kind"] == "event"]
    assert any("workers were lost and started again (1 so far)" in message for message in told), told
    assert "3 stages: module 0 on rank 2; module 1 on rank 1; modules 2 and 3 on rank 0" in told
    main.main(["train", str(alone)], standalone_mode=False)
    one, other = (
        complete_checkpoints(Location(str(tmp_path / "runs" / name)))[-1] for name in ("alone", "staged")
    )
    assert one.state.step == other.state.step == 12
    assert_same(one.weights(), other.weights())
    assert_same(one.optimizer(), other.optimizer())


def record_of(run: Location) -> RunRecord:
    record = RunFolder(run).record()
    assert record is not None
    return record
