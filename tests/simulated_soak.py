"""`python -m tests.simulated_soak [SEED]`: a run, a sweep and a probe on eight simulated nodes, with an attack on a
node whenever there is progress since the last one. Compares the results with those of one process.
"""

from __future__ import annotations

import math
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.node_network import Host
from tests.simulated_cluster import Job, SimulatedCluster
from tests.test_eight_nodes import BASE, ELASTIC, PROBE, SWEEP, accuracies, record_of, run_here, trials_in
from tests.training.cases import assert_same
from vgim.config.schema import SyntheticConfig
from vgim.data.shards.embedded import prepare_embedded
from vgim.runs.checkpoint import complete_checkpoints
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import read_metrics
from vgim.storage import Location

EPOCHS, STEPS_BETWEEN, FEWEST, NOTICE_S = 40, 10, 5, 20
PATIENT = ("cluster.max_failures=1000", "cluster.start_timeout_s=600")
"""Settings with which no number of attacks ends a run."""


class Attacks:
    """Attacks nodes at random, and keeps `FEWEST` of them and as many as there were at the start at most."""

    def __init__(self, cluster: SimulatedCluster, seed: int) -> None:
        self._cluster, self._rng, self._most = cluster, random.Random(seed), len(cluster.nodes)
        self._cut_off: list[Host] = []
        self._doomed: list[tuple[float, Host]] = []
        self.count = 0

    def attack(self) -> None:
        """Kill, cut off or drain a node, or let one join, or be reachable again."""
        staying = len(self._cluster.nodes) - len(self._doomed)
        kinds = ["kill", "cut off", "drain"] if staying > FEWEST else []
        kinds += ["join"] if staying < self._most else []
        kinds += ["reconnect"] if self._cut_off else []
        kind, self.count = self._rng.choice(kinds), self.count + 1
        doomed = [host for _, host in self._doomed]
        host = self._rng.choice([node for node in self._cluster.nodes if node not in doomed])
        if kind == "kill":
            self._cluster.kill(host)
        elif kind == "cut off":
            self._cluster.cut_off(host)
            self._cut_off.append(host)
        elif kind == "drain":
            self._cluster.drain(host, NOTICE_S)
            self._doomed.append((time.monotonic() + NOTICE_S, host))
        elif kind == "join":
            (host,) = self._cluster.add_nodes(1)
        else:
            host = self._cut_off.pop(0)
            self._cluster.reconnect(host)
        say(f"attack {self.count}: {kind} {host.address}, {len(self._cluster.nodes)} nodes")

    def keep_promises(self) -> None:
        """End the nodes whose notice has run out."""
        for due in [entry for entry in self._doomed if time.monotonic() > entry[0]]:
            self._doomed.remove(due)
            self._cluster.end_drained(due[1])

    def close(self) -> None:
        """Let every node that was cut off hear what it missed."""
        while self._cut_off:
            self._cluster.reconnect(self._cut_off.pop())


def under_attack(job: Job, attacks: Attacks, progress: Callable[[], int], between: int) -> None:
    """Attack a node each time that a job has made progress, until it ends well."""
    reached = 0
    while job.process.poll() is None:
        attacks.keep_promises()
        if progress() >= reached + between:
            reached = progress()
            attacks.attack()
        time.sleep(0.5)
    job.succeed()


def say(line: str) -> None:
    print(f"{time.monotonic() - BEGAN:7.1f} s  {line}", flush=True)


BEGAN = time.monotonic()


def main(seed: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="vgim-soak-"))
    shards, runs, config = folder / "shards", folder / "runs", folder / "sim.yaml"
    prepare_embedded(shards, SyntheticConfig(speakers=4, utterances=48))
    config.write_text(BASE.format(shards=shards, root=runs))
    (folder / "rates.yaml").write_text(SWEEP)
    run, trials = Location(str(runs / "sim")), Location(str(runs / "rates" / "trials"))
    cluster = SimulatedCluster(folder / "nodes")
    try:
        cluster.add_nodes(8)
        attacks = Attacks(cluster, seed)
        say("eight nodes")
        longer = f"train.epochs={EPOCHS}"
        job = cluster.submit(
            "-m", "tests.held_job", "ray_jobs/train.py", str(config), *ELASTIC, *PATIENT, longer
        )
        under_attack(job, attacks, lambda: newest_step(run), STEPS_BETWEEN)
        record = record_of(run)
        say(f"trained: {record.attempts} starts, {record.resizes} resizes, {record.moves} moves")
        run_here(
            "train", str(config), "cluster.workers=0", "train.virtual_ranks=6", longer, "storage.name=alone"
        )
        compare_runs(run, Location(str(runs / "alone")))

        job = cluster.submit("ray_jobs/sweep.py", str(folder / "rates.yaml"), *PATIENT)
        under_attack(job, attacks, lambda: sum(newest_step(trial) for trial in trials_in(trials)), 4)
        say("swept")
        for trial in trials_in(trials):
            assert record_of(trial).state == "finished", trial.uri
            rate = f"optim.learning_rate={trial.name.removeprefix('learning_rate')}"
            run_here(
                "train",
                str(config),
                rate,
                "train.epochs=2",
                "cluster.workers=0",
                f"storage.name={trial.name}",
            )
            one, other = (complete_checkpoints(r)[-1] for r in (trial, Location(str(runs / trial.name))))
            assert_same(one.weights(), other.weights())

        copy = folder / "copy"
        shutil.copytree(runs / "sim", copy)
        job = cluster.submit("ray_jobs/probe.py", run.uri, *PROBE, "--workers", "4")
        attacks.attack()
        job.succeed()
        run_here("probe", str(copy), *PROBE)
        assert accuracies(run) == accuracies(Location(str(copy)))
        attacks.close()
        cluster.wait_until_empty()
        say(f"all results as those of one process after {attacks.count} attacks; no process left")
    finally:
        cluster.close()
    shutil.rmtree(folder)


def compare_runs(run: Location, alone: Location) -> None:
    """Refuse a run whose losses left those of the same run in one process at some step.

    Ranks add up gradients in another order, and 120 steps of Adam and ReLU make of the last digit some per mille of a
    weight, but hardly anything of a loss. A batch, a draw or an update too many shows in the loss.
    """
    steps, steps_alone = (train_records(of) for of in (run, alone))
    assert list(steps) == list(steps_alone)
    for step, modules in steps_alone.items():
        for module, expected in zip(steps[step], modules, strict=True):
            assert math.isclose(module["nce"], expected["nce"], rel_tol=1e-4), (step, module, expected)
    weights, weights_alone = (complete_checkpoints(of)[-1].weights() for of in (run, alone))
    for name, tensor in weights_alone.items():
        torch.testing.assert_close(
            weights[name], tensor, rtol=1e-2, atol=1e-2, msg=lambda text, name=name: f"{name}: {text}"
        )


def train_records(run: Location) -> dict[int, list[dict[str, Any]]]:
    """The modules' metrics of each step."""
    return {r["step"]: r["modules"] for r in read_metrics(run) if r["kind"] == "train"}


def newest_step(run: Location) -> int:
    if RunFolder(run).readable_record() is None:
        return 0
    return max((checkpoint.state.step for checkpoint in complete_checkpoints(run)), default=0)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
