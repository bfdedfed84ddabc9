"""A Ray cluster of several simulated nodes on this machine, as a process of its own: `python nodes.py CPUS CPUS ...`.

The first number is the head's. Prints one JSON line with the addresses, then obeys lines on stdin: `kill NAME` ends a
node, not the head, that runs a process with NAME in its title, as a power cut would; the end of stdin ends all. Started
as a process, so that a test that has Ray already is left alone.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from typing import Any

from ray.cluster_utils import Cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def runs(node: Any, name: str) -> bool:
    """Whether one of the node's workers has `name` in its title."""
    (raylet,) = node.all_processes["raylet"]
    pid = raylet.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return any(name.encode() in Path(f"/proc/{child}/cmdline").read_bytes() for child in children)


def main(cpus: list[int]) -> None:
    common = {"object_store_memory": 120 * 2**20}
    port = free_port()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **common,
            "num_cpus": cpus[0],
            "include_dashboard": True,
            "dashboard_port": port,
            "dashboard_agent_listen_port": free_port(),
        },
    )
    nodes = [
        cluster.add_node(num_cpus=count, dashboard_agent_listen_port=free_port(), **common)
        for count in cpus[1:]
    ]
    cluster.wait_for_nodes()
    time.sleep(1)
    metrics = [
        f"http://{node.node_ip_address}:{node.metrics_export_port}/metrics"
        for node in (cluster.head_node, *nodes)
    ]
    where = {"address": cluster.address, "dashboard": f"http://127.0.0.1:{port}", "metrics": metrics}
    print(json.dumps(where), flush=True)
    for line in sys.stdin:
        word, name = line.split()
        assert word == "kill"
        node = next(node for node in nodes if runs(node, name))
        cluster.remove_node(node, allow_graceful=False)
        print(json.dumps({"killed": name}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
