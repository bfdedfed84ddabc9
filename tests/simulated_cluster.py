"""A Ray cluster whose nodes are hosts of a simulated network: real raylets that are started by `ray start`, that die,
that are cut off and that join, under jobs submitted by `ray job submit`.

Unlike `tests.ray_cluster`, all that nodes share is storage: each has its own address, name, Ray session and copy of a
job's working directory.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.node_network import Host, NodeNetwork
from tests.ray_cluster import OBJECT_STORE_BYTES, RAY_ENVIRONMENT
from tests.waiting import LIMIT_S, wait_until

ROOT = Path(__file__).resolve().parent.parent
RAY = (sys.executable, "-m", "ray.scripts.scripts")
PORT, DASHBOARD = 6379, "http://127.0.0.1:8265"
LOOK_S = 0.5
SERVICES = re.compile(
    r"gcs_server|raylet/raylet|autoscaler/_private/monitor|ray.util.client.server|dashboard|multiprocessing\."
    r"|ray::(DashboardAgent|RuntimeEnvAgent|IDLE|_AutoscalingCoordinatorActor)"
)
"""Command lines of processes that a node has without any job, of workers that wait for one, and of Ray's own actor."""
# Asks the head's dashboard without importing Ray, which would take seconds.
ASK = """
import sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + sys.argv[2]})
print(urllib.request.urlopen(asked, timeout=60).read().decode())
"""


@dataclass
class Job:
    """A submitted job, and the file that gets its output."""

    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, condition: Any, what: str, *, limit_s: float = LIMIT_S) -> None:
        """Wait until a condition holds while the job runs.

        Raises:
            AssertionError: The job ended before, or the condition did not come true; with the job's output.
        """

        def is_met() -> bool:
            assert self.process.poll() is None, f"the job ended before {what}: {self.output()}"
            return bool(condition())

        try:
            wait_until(is_met, what, limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()}") from None

    def succeed(self) -> str:
        """Wait until the job ends; returns its output."""
        return self.end(0)

    def end(self, exit_code: int, *, limit_s: float = 2 * LIMIT_S) -> str:
        assert self.process.wait(timeout=limit_s) == exit_code, self.output()
        return self.output()


class SimulatedCluster:
    """A head without CPUs, and nodes of one CPU.

    Args:
        folder: For the nodes' own files, and the logs of jobs.
        environment: Variables of Ray's processes besides those of all tests.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self._folder = folder
        self._environment = {
            **RAY_ENVIRONMENT,
            "PYTHONPATH": str(ROOT),
            "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "1",
            "RAY_idle_worker_killing_time_threshold_ms": "1000",
            "RAY_metrics_report_interval_ms": "60000",  # nobody reads them here
            **(environment or {}),
        }
        self._network = NodeNetwork(folder)
        self._num_jobs = 0
        self.head = self._network.add_host()
        self._start(self.head, "--head", f"--port={PORT}", "--num-cpus=0")
        self.nodes: list[Host] = []
        """Nodes that have joined, and were neither killed nor cut off."""
        self._were_cut_off: list[Host] = []

    def add_nodes(self, num_nodes: int) -> list[Host]:
        """Start nodes one after the other, and wait until the cluster counts them."""
        added = []
        for _ in range(num_nodes):
            host = self._network.add_host()
            self._start(host, f"--address={self.head.address}:{PORT}", "--num-cpus=1")
            self.nodes.append(host)
            added.append(host)
        wait_until(lambda: {h.address for h in added} <= self.live(), f"{num_nodes} nodes join")
        return added

    def kill(self, host: Host) -> None:
        """End a node's raylet alone, as a machine's out-of-memory killer does; all else on the node must follow."""
        (raylet,) = self._raylets(host)
        os.kill(raylet, signal.SIGKILL)
        self.nodes.remove(host)

    def end_drained(self, host: Host) -> None:
        """End a node whose notice has run out, if Ray has not ended it yet."""
        for raylet in self._raylets(host):
            os.kill(raylet, signal.SIGKILL)
        self.nodes.remove(host)

    @staticmethod
    def _raylets(host: Host) -> list[int]:
        return [pid for pid, line in host.command_lines().items() if "raylet/raylet" in line]

    def cut_off(self, host: Host) -> None:
        """Pull a node's network cable; its processes live on, and see storage."""
        self._network.set_link(host, up=False)
        self.nodes.remove(host)
        self._were_cut_off.append(host)

    def reconnect(self, host: Host) -> None:
        """Plug the cable in again. What Ray makes of it shows `live`."""
        self._network.set_link(host, up=True)

    def drain(self, host: Host, deadline_s: int) -> None:
        """Give notice that a node goes in so many seconds, as a cloud does of spot machines; `end_drained` ends it."""
        (node_id,) = (n["nodeId"] for n in self._nodes() if n["nodeManagerAddress"] == host.address)
        self.run(
            *(*RAY, "drain-node", "--address", f"{self.head.address}:{PORT}", "--node-id", node_id),
            *(
                "--reason",
                "DRAIN_NODE_REASON_PREEMPTION",
                "--reason-message",
                "the spot machine is taken back",
            ),
            *("--deadline-remaining-seconds", str(deadline_s)),
        ).succeed()

    def run(self, *command: str) -> Job:
        """Start a command on the head."""
        self._num_jobs += 1
        log = self._folder / f"job-{self._num_jobs}.log"
        with log.open("wb") as output:
            return Job(self._network.popen(self.head, command, self._environment, output), log)

    def submit(self, *command: str) -> Job:
        """Submit a job on the head, as the documentation does, and follow its output."""
        return self.run(
            *(*RAY, "job", "submit", "--working-dir", str(ROOT), "--address", DASHBOARD),
            *("--", sys.executable, *command),
        )

    def live(self) -> set[str]:
        """Addresses of the nodes that Ray believes alive. Takes a moment, so that waiting for it keeps no core busy."""
        time.sleep(LOOK_S)
        return {
            n["nodeManagerAddress"] for n in self._nodes() if n["state"] == "ALIVE" and not n["isHeadNode"]
        }

    def _nodes(self) -> list[dict[str, Any]]:
        token = self._environment["RAY_AUTH_TOKEN"]
        answer = self._folder / "nodes.json"
        command = (sys.executable, "-I", "-S", "-c", ASK, f"{DASHBOARD}/nodes?view=summary", token)
        with answer.open("wb") as output:  # on the head, where alone the dashboard can be reached
            done = self._network.popen(self.head, command, {}, output).wait()
        assert not done, answer.read_text()
        return [node["raylet"] for node in json.loads(answer.read_text())["data"]["summary"]]

    def node_of(self, title: str, *, but: Iterable[Host] = ()) -> Host:
        """A node, not the head, that has a process with this title."""
        return next(
            host
            for host in self.nodes
            if host not in but and any(title in line for line in host.command_lines().values())
        )

    def left_over(self) -> dict[str, list[str]]:
        """Processes of jobs on each host that was not cut off, and all that are left of a killed node."""
        left = {
            host.name: [line for line in host.command_lines().values() if line and not SERVICES.search(line)]
            for host in self._network.hosts
            if host not in self._were_cut_off
        }
        return {name: lines for name, lines in left.items() if lines}

    def wait_until_empty(self) -> None:
        """Wait until nothing is left over; else fail with what is."""
        try:
            wait_until(lambda: not self.left_over(), "no process is left")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.left_over()}") from None

    def close(self) -> None:
        self._network.close()

    def _start(self, host: Host, *arguments: str) -> None:
        log = self._folder / f"{host.name}.log"
        with log.open("wb") as output:
            started = self._network.popen(
                host,
                (
                    *(*RAY, "start", *arguments, f"--node-ip-address={host.address}"),
                    *(f"--object-store-memory={OBJECT_STORE_BYTES}", "--include-log-monitor=false"),
                ),
                self._environment,
                output,
            )
        assert not started.wait(timeout=LIMIT_S), log.read_text()
