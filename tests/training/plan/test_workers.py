"""Where workers are placed, in words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.test_gpu import AGREES
from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError
from vgim.training.plan.workers import (
    ADDS_NONE,
    backend_of,
    describe_placement,
    place_run,
    private_resources,
)

L4_NODE = {"CPU": 48.0, "GPU": 4.0}


def described(nodes: list[dict[str, float]], **cluster: Any) -> list[str]:
    config = ClusterConfig(**cluster)
    whole = {name: sum(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    placement, warning = place_run(config, whole, private=False)
    assert warning is None
    return describe_placement(config, placement, nodes, {"CPU": 5.0, "GPU": 3.0})


def test_workers_on_a_cluster_of_gpus_are_described_with_what_is_left() -> None:
    assert described([{"CPU": 2.0}, L4_NODE, L4_NODE], workers=8) == [
        "placement: 8 workers of 1 CPU and 1 GPU on the cluster, device cuda, a node's cores divided among its workers "
        "as threads, nccl between them",
        "cluster: 1 node of 2 CPUs, 2 nodes of 48 CPUs and 4 GPUs; room for 8 workers; free now: 5 CPUs and 3 GPUs",
        "reading: Ray Data, on the 90 CPUs that the workers leave",
    ]


def test_workers_that_fit_the_sum_of_the_nodes_and_no_single_node_are_warned_of() -> None:
    _, cluster, _ = described([{"CPU": 3.0}, {"CPU": 3.0}], workers=2, cpus_per_worker=2.5)
    assert "room for 2 workers" in cluster
    _, cluster, _ = described([{"CPU": 3.0}] * 3, workers=2, cpus_per_worker=3.5)
    assert "room for 0 workers on single nodes, too few: the run waits 300 s for more" in cluster


def test_workers_that_follow_the_cluster_or_grow_it_are_described() -> None:
    elastic = described([{"CPU": 3.0}], workers="2..8", device="cpu")
    assert elastic[0].startswith("placement: 2 to 8 workers of 1 CPU on the cluster, device cpu")
    assert elastic[1].startswith("cluster: 1 node of 3 CPUs; room for 3 workers; free now")
    assert elastic[2] == "reading: each worker reads its crops itself, without Ray Data"
    growing = described([{"CPU": 2.0}], workers=4, device="cuda", autoscaling=True)
    assert "room for 0 workers, so it is asked for more nodes and waited for at most 300 s" in growing[1]
    assert growing[2] == "reading: Ray Data, on CPUs of the nodes that the cluster adds"


def test_a_run_that_counts_on_nodes_and_names_no_cluster_is_told_that_a_private_ray_adds_none() -> None:
    asked: dict[str, Any] = {"autoscaling": True, "device": "cuda"}
    with pytest.raises(
        ConfigError, match="no cluster is named: a private Ray on this machine adds no nodes to its"
    ) as told:
        place_run(ClusterConfig(workers=64, **asked), L4_NODE, private=True)
    assert (
        "its 48 CPUs and 4 GPUs, too few for cluster.workers=64 on cluster.device=cuda; give --address"
        in str(told.value)
    )
    with pytest.raises(ConfigError, match=r"too few for cluster.workers=8..64 on cluster.device=cuda"):
        place_run(ClusterConfig(workers="8..64", **asked), L4_NODE, private=True)
    # What fits here is trained here, as without the key, and the key is said to do nothing.
    placement, warning = place_run(ClusterConfig(workers=4, **asked), L4_NODE, private=True)
    assert (placement, None) == place_run(ClusterConfig(workers=4, device="cuda"), L4_NODE, private=True)
    assert warning == ADDS_NONE
    _, warning = place_run(
        ClusterConfig(workers=4000, device="cpu", autoscaling=True), {"CPU": 4001}, private=True
    )
    assert warning is not None
    assert warning.startswith(f"{ADDS_NONE}; cluster.workers=4000 is more than the ")


def test_ray_counts_the_gpus_that_the_environment_leaves() -> None:
    from dataclasses import replace

    config = ClusterConfig(workers=2)
    counts = {
        visible: private_resources(config, replace(AGREES, visible=visible))["GPU"]
        for visible in (None, "1,3", "")
    }
    assert counts == {None: 4, "1,3": 2, "": 0}
    assert private_resources(ClusterConfig(workers=9000), AGREES)["CPU"] == 9001


def test_nccl_needs_gpus() -> None:
    on_cpu, _ = place_run(ClusterConfig(workers=2), {"CPU": 8.0}, private=False)
    assert backend_of(ClusterConfig(workers=2), on_cpu) == "gloo"
    with pytest.raises(ConfigError, match=r"cluster\.backend=nccl needs GPUs"):
        backend_of(ClusterConfig(workers=2, backend="nccl"), on_cpu)
