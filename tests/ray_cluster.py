"""The Ray instance that all tests share: a head node, to which a test may add nodes and take them away again."""

from __future__ import annotations

import os
import secrets
import signal
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until

RAY_ENVIRONMENT = {
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default; silences its warning
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # as `ensure_ray` sets it on one machine
    # Jobs need a token; this one opens nothing but the tests' own Ray.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(16),
    # Speed: no process starts that nobody asked for, none ends that a later test can use, none waits behind other
    # tests at every all-reduce, and a node that died is missed after seconds.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    "RAY_worker_niceness": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_metrics_report_interval_ms": "2000",
    # Patience: on a busy machine a process needs minutes to start.
    "RAY_worker_register_timeout_seconds": "300",
    "RAY_GCS_SERVER_REQUEST_TIMEOUT_SECONDS": "300",
}
"""What Ray's processes, and the processes that tests start, find in their environment."""

Node = dict[str, Any]  # as `ray.nodes()` describes it

HEAD_CPUS = 4  # logical: Ray Data has some beside two workers
OBJECT_STORE_BYTES = 200 * 2**20


class RayCluster:
    """Ray on this machine, with this process as its driver."""

    def __init__(self) -> None:
        import ray
        from ray._private import services, utils
        from ray.cluster_utils import Cluster

        self._patch = pytest.MonkeyPatch()
        # By default Ray asks in a busy loop whether a node is up, and gives it up after 30 seconds.
        self._patch.setattr(services, "get_node", partial(_wait_for_node, services.get_node))
        # Else whoever connects to this machine's cluster by `auto`, meaning another one, would come to the tests'.
        self._patch.setattr(utils, "write_ray_address", lambda address: None)
        self._cluster = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": HEAD_CPUS,
                "num_gpus": 0,
                "object_store_memory": OBJECT_STORE_BYTES,
                # Through which jobs are submitted, and the CPUs of a trial that Tune stops are freed.
                "include_dashboard": True,
                "dashboard_port": None,  # the first that is free, as for the agent
                "dashboard_agent_listen_port": None,
                # Nobody reads what they do, and they are busy all the time.
                "include_log_monitor": False,
                "no_monitor": True,
            },
        )
        ray.init(self._cluster.address, log_to_driver=False, logging_level="ERROR")
        ray.data.DataContext.get_current().enable_progress_bars = False

    @property
    def dashboard(self) -> str:
        """Address that jobs are submitted to."""
        return f"http://{self._cluster.webui_url}"

    def add_nodes(self, num_nodes: int, *, num_cpus: int, num_gpus: int = 0) -> None:
        """Start simulated nodes, whose GPUs Ray alone believes in, and wait until the cluster counts them."""
        import ray

        before = len(self.live_nodes())
        for _ in range(num_nodes):
            self._cluster.add_node(
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                object_store_memory=OBJECT_STORE_BYTES,
                # A node's first task of a job deletes the job's working directory and unpacks it again. In a folder
                # that all nodes of this machine share, that would take it from under the job.
                runtime_env_dir_name=f"runtime_resources_{secrets.token_hex(4)}",
            )
        wait_until(
            lambda: len(self.live_nodes()) == before + num_nodes, f"{num_nodes} nodes join {ray.nodes()}"
        )

    def live_nodes(self) -> list[Node]:
        import ray

        return [node for node in ray.nodes() if node["Alive"]]

    def kill_node_with(self, title: str) -> None:
        """End an added node that has a worker with this title, with all its processes, as a power cut would."""
        self._cluster.remove_node(self.node_with(title), allow_graceful=False)

    def drain(self, node: Any, *, deadline_s: float) -> None:
        """Give notice that an added node will be taken away; it stays, though."""
        from ray._raylet import GcsClient
        from ray.core.generated.autoscaler_pb2 import DrainNodeReason

        accepted, why_not = GcsClient(self._cluster.address).drain_node(
            node.node_id,
            DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
            "a spot machine is taken back",
            int((time.time() + deadline_s) * 1000),
        )
        assert accepted, why_not

    def node_with(self, title: str) -> Any:
        """An added node that has a worker with this title."""
        return next(node for node in self._cluster.worker_nodes if _runs(node, title))

    def remove_nodes(self) -> None:
        """Take all added nodes away."""
        for node in list(self._cluster.worker_nodes):
            self._cluster.remove_node(node, allow_graceful=False)
        wait_until(lambda: len(self.live_nodes()) == 1, "the added nodes leave")

    def metrics(self) -> str:
        """The metrics that all nodes export, in Prometheus's format."""
        pages = []
        for node in self._cluster.list_all_nodes():
            address = f"http://{node.node_ip_address}:{node.metrics_export_port}/metrics"
            with suppress(OSError), urllib.request.urlopen(address, timeout=60) as page:
                pages.append(page.read().decode())
        return "\n".join(pages)

    def shutdown(self) -> None:
        import ray

        workers = [pid for node in self._cluster.list_all_nodes() for pid in _workers(node)]
        ray.shutdown()
        self._cluster.shutdown()
        for pid in workers:  # now and then one hangs at its exit and would stay for ever
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._patch.undo()


def _wait_for_node(get_node: Callable[[str, str], Node], address: str, node_id: str) -> Node:
    found: list[Node] = []

    def is_up() -> bool:
        with suppress(RuntimeError):
            found.append(get_node(address, node_id))
        return bool(found)

    wait_until(is_up, f"node {node_id} starts")
    return found[0]


def _workers(node: Any) -> list[int]:
    """Processes that the node's raylet started."""
    (raylet,) = node.all_processes["raylet"]
    pid = raylet.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _runs(node: Any, title: str) -> bool:
    """Whether one of the node's workers has `title` in its title."""
    for pid in _workers(node):
        with suppress(OSError):  # it has just ended
            if title.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False
