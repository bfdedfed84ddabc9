"""What a launch on Ray says before its workers start; no Ray runs here."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from vgim.config import ResolvedConfig
from vgim.errors import ConfigError, TrainingError
from vgim.progress import MessagesOnly
from vgim.training import on_ray
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]
NODE = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 16.0, "GPU": 4.0}}


class NotStartedError(Exception):
    """Raised in the place of a start."""


@pytest.fixture
def cluster_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two nodes with four GPUs each, on which nothing starts."""
    import ray

    def refuse(*_: object, **__: object) -> Any:
        raise NotStartedError

    gone = {**NODE, "Alive": False}
    monkeypatch.setattr(on_ray, "ensure_ray", lambda **options: None)
    monkeypatch.setattr(on_ray, "starts_private", lambda address: False)
    monkeypatch.setattr(on_ray, "is_private", lambda: False)
    monkeypatch.setattr(on_ray, "ray_train_fit", refuse)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 32.0, "GPU": 8.0})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 30.0, "GPU": 8.0})
    monkeypatch.setattr(ray, "nodes", lambda: [NODE, NODE, gone])


def test_the_placement_is_said_before_workers_start_on_a_cluster(
    cluster_of_gpus: None, tiny_config: Maker
) -> None:
    said: list[str] = []
    with pytest.raises(NotStartedError):
        train(tiny_config("cluster.workers=8", "cluster.device=auto"), progress=MessagesOnly(said.append))
    placement, cluster, reading = said[-3:]
    assert placement.startswith("placement: 8 workers of 1 CPU and 1 GPU on the cluster, device cuda, ")
    assert (
        cluster == "cluster: 2 nodes of 16 CPUs and 4 GPUs; room for 8 workers; free now: 30 CPUs and 8 GPUs"
    )
    assert reading == "reading: Ray Data, on the 24 CPUs that the workers leave"


def test_more_workers_than_gpus_end_the_launch_and_do_not_train_on_cpus(
    cluster_of_gpus: None, tiny_config: Maker
) -> None:
    with pytest.raises(ConfigError) as e:
        train(tiny_config("cluster.workers=9", "cluster.device=auto"))
    assert str(e.value) == (
        "cluster.workers=9 needs 9 GPUs and the cluster has 8, which cluster.device=auto would leave unused; use "
        "cluster.workers=8, or cluster.device=cpu to train on CPUs all the same"
    )


@pytest.mark.parametrize(
    "overrides",
    [
        ("cluster.workers=2", "train.schedule=parallel"),
        ("cluster.workers=2", "train.schedule=parallel", "train.virtual_ranks=1"),
        ("cluster.workers=3",),
        ("cluster.workers=2..4",),
        ("cluster.workers=1",),
    ],
)
def test_where_ray_does_not_start_the_advice_takes_the_same_steps(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    def fail(*, without_ray: str, **_: object) -> None:
        raise TrainingError(f"Ray did not start; {without_ray}")

    monkeypatch.setattr(on_ray, "ensure_ray", fail)
    monkeypatch.setattr(on_ray, "gpus_before_torch", lambda cluster: None)
    resolved = tiny_config(*overrides)
    with pytest.raises(TrainingError) as e:
        train(resolved)
    found = re.search(r"train the same steps without Ray \((.*)\)$", str(e.value))
    assert found
    advised = tiny_config(*overrides, *found[1].split()).config
    assert advised.cluster.workers == 0
    assert advised.num_virtual_ranks == resolved.config.num_virtual_ranks
    train(ResolvedConfig(**{**vars(resolved), "config": with_one_epoch(advised)}))


def with_one_epoch(config: Any) -> Any:
    return config.model_copy(update={"train": config.train.model_copy(update={"epochs": 1})})
