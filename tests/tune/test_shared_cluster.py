"""Two sweeps on a cluster that has room for one trial at a time: both come to their end, and who waits says so."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.ray_cluster import HEAD_CPUS, RayCluster
from tests.test_multinode import submit
from tests.tune.sweep_cases import MakeSweep
from tests.waiting import LIMIT_S, wait_until
from vgim.cluster.connect import free_resources
from vgim.runs.folder import RunFolder
from vgim.tune.sweep_file import Sweep
from vgim.tune.trials import trials_of

WORKERS = HEAD_CPUS - 1  # the CPU that a sweep leaves for Ray Data is too few for a trial of the other
SETTINGS = ("train.epochs=1", f"cluster.workers={WORKERS}", "cluster.cpus_per_worker=1")


def attempts(sweep: Sweep) -> list[int]:
    records = [RunFolder(trial.run).record() for trial in trials_of(sweep)]
    return [0 if record is None else record.attempts for record in records]


@pytest.mark.slow
def test_two_sweeps_share_a_cluster_and_neither_starves(
    ray_cluster: RayCluster, tiny_sweep_in: MakeSweep, tmp_path: Path
) -> None:
    held = tmp_path / "held"
    sweeps, jobs, logs = list[Sweep](), list[subprocess.Popen[str]](), list[Path]()
    for name in ("first", "second"):
        folder, log = tmp_path / name, tmp_path / f"{name}.log"
        folder.mkdir()
        sweeps.append(tiny_sweep_in(folder, {"optim.learning_rate": "[1e-4, 1e-3]"}, *SETTINGS))
        command = ("-m", "tests.held_job", "1", str(held), "ray_jobs/sweep.py", str(folder / "small.yaml"))
        with log.open("w") as output:
            jobs.append(submit(ray_cluster, *command, *SETTINGS, output=output))
        logs.append(log)

    def one_waits() -> bool:
        # The number that is true now: tests before this one may have left a process of Ray that holds a CPU.
        waits = f"waiting for {WORKERS} x 1 CPU; the cluster has {free_resources().get('CPU', 0):g} CPU free"
        return any(waits in log.read_text() for log in logs)

    wait_until(one_waits, "one of the sweeps waits")
    # The other one trains: its trial is held, so that the CPUs are not to be had.
    wait_until(lambda: sorted(map(sum, map(attempts, sweeps))) == [0, 1], "one of them trains")
    held.touch()
    for job, log, sweep in zip(jobs, logs, sweeps, strict=True):
        assert job.wait(timeout=2 * LIMIT_S) == 0, log.read_text()
        assert attempts(sweep) == [1, 1]
