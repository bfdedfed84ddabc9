"""Why workers start anew, in words. tests/test_elastic_nodes.py takes nodes away under a run."""

from __future__ import annotations

from ray.exceptions import RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from vgim.training.ray_restarts import describe_loss, describe_notice

NODES = [
    {"NodeID": "aa11", "NodeManagerAddress": "10.0.0.4", "Alive": False},
    {"NodeID": "bb22", "NodeManagerAddress": "10.0.0.5", "Alive": True},
]


def test_a_notice_names_the_nodes_and_the_time_that_is_left() -> None:
    known = describe_notice(["10.0.0.4", "10.0.0.5"], 60_400, 30.0)
    assert known.startswith("10.0.0.4, 10.0.0.5 will be taken away in 30 s: a checkpoint is written now")
    assert describe_notice(["10.0.0.4"], 20_000, 30.0).startswith("10.0.0.4 will be taken away in 0 s: ")
    assert describe_notice(["10.0.0.4"], None, 30.0).startswith("10.0.0.4 will be taken away soon: ")


def test_a_lost_worker_is_named_with_its_node_if_that_is_gone() -> None:
    waited = RuntimeError("connection closed by peer")  # a rank that waited for the lost one
    on_dead_node = RayActorError(
        actor_id=None, error_msg="The actor died because its node has died. Node Id: aa11"
    )
    on_live_node = RayActorError(actor_id=None, error_msg="The worker was killed on node bb22\nand more")
    silent = WorkerHealthCheckFailedError("A worker health check failed.", on_dead_node)
    assert describe_loss({0: waited, 2: silent}, NODES) == "worker 2: its node 10.0.0.4 is gone"
    assert describe_loss({1: on_live_node}, NODES) == "worker 1: The worker was killed on node bb22"
    assert describe_loss({0: waited}, NODES) == "worker 0: connection closed by peer"
    assert describe_loss({}, NODES) == ""
