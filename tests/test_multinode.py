"""A cluster of three nodes takes jobs: prepare, train on two of them while one is lost, probe."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from vgim.cli import main
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import read_metrics
from vgim.storage import Location

pytestmark = pytest.mark.ray

ROOT = Path(__file__).resolve().parent.parent
# A rank takes 1.5 CPUs, so that no node holds two; without one node there is still room for both.
NODE_CPUS = ("2", "2", "2")
TRAINING = """
extends: quickstart
model: {{channels: 8, gru_units: 8}}
data: {{shards: {shards}, crop_samples: 5120, shuffle_window: 12, synthetic: null}}
train: {{batch_size: 4, epochs: 14, checkpoint_every_steps: 10, validate_every_epochs: 7, log_every_steps: 1}}
cluster: {{workers: 2, device: cpu, threads_per_worker: 1, cpus_per_worker: 1.5}}
storage: {{root: {root}, name: sim}}
"""


@dataclass
class Nodes:
    """The cluster's process, and how jobs reach it."""

    process: subprocess.Popen[str]
    env: dict[str, str]
    metrics_at: list[str]

    def metrics(self) -> str:
        """What the nodes export."""
        pages = []
        for address in self.metrics_at:
            with suppress(OSError), urllib.request.urlopen(address, timeout=5) as page:
                pages.append(page.read().decode())
        return "\n".join(pages)

    def kill_node_of_a(self, worker: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print("kill", worker, file=self.process.stdin, flush=True)
        assert json.loads(self.process.stdout.readline()) == {"killed": worker}

    def submit(self, *command: str) -> subprocess.Popen[str]:
        submit = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "job",
            "submit",
            "--working-dir",
            str(ROOT),
            "--",
        ]
        return subprocess.Popen(
            [*submit, sys.executable, *command],
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str) -> str:
        job = self.submit(*command)
        output, _ = job.communicate(timeout=300)
        assert job.returncode == 0, output
        return output


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    env = {
        **os.environ,
        "RAY_AUTH_MODE": "token",
        "RAY_metrics_report_interval_ms": "500",
        "RAY_health_check_period_ms": "500",  # a dead node is missed five times; by default every three seconds
        "RAY_enable_worker_prestart": "0",  # jobs take none of the workers that each node would keep ready
        "RAY_prestart_worker_first_driver": "0",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "PYTHONPATH": str(ROOT),
    }
    env.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests/nodes.py", *NODE_CPUS],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        where = json.loads(process.stdout.readline())
        yield Nodes(process, {**env, "RAY_API_SERVER_ADDRESS": where["dashboard"]}, where["metrics"])
    finally:
        process.stdin.close()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until(condition: Callable[[], bool], job: subprocess.Popen[str], timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def last_step(run: Location) -> int:
    return max((record["step"] for record in read_metrics(run) if record["kind"] == "train"), default=0)


def test_three_nodes_prepare_train_and_probe_though_one_is_lost(nodes: Nodes, tmp_path: Path) -> None:
    corpus, shards, runs = tmp_path / "corpus", tmp_path / "shards", tmp_path / "runs"
    arguments = ["data", "synth", "--out", str(corpus), "--speakers", "4", "--utterances", "48"]
    main.main(arguments, standalone_mode=False)
    nodes.run("ray_jobs/prepare.py", "librispeech", "--corpus", str(corpus), "--out", str(shards))
    assert (shards / "manifest.json").exists()

    config = tmp_path / "sim.yaml"
    config.write_text(TRAINING.format(shards=shards, root=runs))
    run = Location(str(runs / "sim"))
    training = nodes.submit("ray_jobs/train.py", str(config))
    wait_until(lambda: last_step(run) > 10, training)  # there is a checkpoint
    wait_until(lambda: "ray_vgim_nce{" in nodes.metrics(), training)
    nodes.kill_node_of_a("RayTrainWorker")
    output, _ = training.communicate(timeout=300)
    assert training.returncode == 0, output
    record = RunFolder(run).record()
    assert record is not None
    assert record.state == "finished", output
    steps = [r["step"] for r in read_metrics(run) if r["kind"] == "train"]
    assert steps == list(range(1, steps[-1] + 1))
    told = [r["message"] for r in read_metrics(run) if r["kind"] == "event"]
    assert any("workers were lost and started again (1 so far)" in message for message in told), told

    output = nodes.run("ray_jobs/probe.py", run.uri, "--task", "speaker", "--encoder", "trained")
    assert "speaker" in output
    assert run.child("probes").list()
