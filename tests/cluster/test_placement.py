"""Workers and Ray Data share the cluster so that neither starves, and an impossible wish is refused beforehand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vgim.cluster.placement import DATA_CPUS, Placement, crowding, place_workers, room_for
from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError


def cluster(**values: Any) -> ClusterConfig:
    return ClusterConfig(**values)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_two_cpus_leave_ray_data_one_whatever_the_number_of_workers(workers: int) -> None:
    placement = place_workers(cluster(workers=workers), {"CPU": 2.0})
    assert placement.workers == workers
    assert 0 < placement.cpus_per_worker * workers <= 2 - DATA_CPUS
    assert not placement.use_gpu


def test_workers_take_one_cpu_each_where_there_are_enough() -> None:
    assert place_workers(cluster(workers=2), {"CPU": 4.0}).cpus_per_worker == 1
    assert place_workers(cluster(workers=1), {"CPU": 64.0}).cpus_per_worker == 1


@given(st.integers(1, 200), st.floats(0, 300))
def test_auto_either_leaves_ray_data_its_share_or_refuses(workers: int, cpus: float) -> None:
    try:
        placement = place_workers(cluster(workers=workers), {"CPU": cpus})
    except ConfigError as error:
        assert (cpus - DATA_CPUS) / workers < 0.01
        assert "add nodes or lower cluster.workers" in str(error)  # noqa: PT017
    else:
        assert cpus - workers * placement.cpus_per_worker >= DATA_CPUS - 1e-6
        assert placement.cpus_per_worker * 10_000 == pytest.approx(round(placement.cpus_per_worker * 10_000))


def test_one_cpu_is_too_few_and_the_message_has_the_numbers() -> None:
    with pytest.raises(
        ConfigError, match=r"^the cluster has 1 CPUs, too few for cluster.workers=2 and the data"
    ):
        place_workers(cluster(workers=2), {"CPU": 1.0})


def test_a_wish_that_starves_ray_data_is_refused_with_one_that_does_not() -> None:
    with pytest.raises(ConfigError) as e:
        place_workers(cluster(workers=2, cpus_per_worker=1.0), {"CPU": 2.0})
    assert str(e.value) == (
        "cluster.workers=2 x cluster.cpus_per_worker=1 leaves the data stream less than 1 of the cluster's 2 CPUs; "
        "use cluster.cpus_per_worker=0.5 or auto"
    )
    assert place_workers(cluster(workers=2, cpus_per_worker=0.5), {"CPU": 2.0}).cpus_per_worker == 0.5
    with pytest.raises(ConfigError, match=r"use cluster\.cpus_per_worker=3\.66 or auto"):
        place_workers(cluster(workers=3, cpus_per_worker=4.0), {"CPU": 12.0})
    assert place_workers(cluster(workers=3, cpus_per_worker=3.66), {"CPU": 12.0}).cpus_per_worker == 3.66
    with pytest.raises(ConfigError, match=r"^the cluster has 1 CPUs, too few"):
        place_workers(cluster(workers=1, cpus_per_worker=1.0), {"CPU": 1.0})


def test_gpus_are_used_when_every_worker_gets_one() -> None:
    resources = {"CPU": 16.0, "GPU": 2.0}
    assert place_workers(cluster(workers=2), resources).device == "cuda"
    assert place_workers(cluster(workers=2, device="cpu"), resources).device == "cpu"
    assert place_workers(cluster(workers=2, device="cuda"), resources).use_gpu


@pytest.mark.parametrize(
    ("workers", "gpus", "instead"), [(65, 64.0, "cluster.workers=64"), ("3..8", 2.0, "cluster.workers=2..8")]
)
def test_gpus_that_would_stay_unused_are_an_error_with_the_fix(
    workers: int | str, gpus: float, instead: str
) -> None:
    resources = {"CPU": 128.0, "GPU": gpus}
    needed = workers if isinstance(workers, int) else 3
    with pytest.raises(ConfigError) as e:
        place_workers(cluster(workers=workers), resources)
    assert str(e.value) == (
        f"cluster.workers={workers} needs {needed} GPUs and the cluster has {gpus:g}, which cluster.device=auto would "
        f"leave unused; use {instead}, or cluster.device=cpu to train on CPUs all the same"
    )
    assert place_workers(cluster(workers=workers, device="cpu"), resources).device == "cpu"
    assert place_workers(cluster(workers=workers), {"CPU": 128.0}).device == "cpu"


def test_more_workers_than_cores_are_one_warning() -> None:
    def warning(workers: int | str, cores: float, gpus: float = 0.0, **settings: object) -> str | None:
        config = cluster(workers=workers, **settings)
        return crowding(config, place_workers(config, {"CPU": 64.0, "GPU": gpus}), cores)

    assert warning(8, 2) == (
        "cluster.workers=8 is more than the 2 cores, on which workers take turns; cluster.workers=2 gives each worker "
        "a core (train.accumulate times 4 has the same batch)"
    )
    assert warning(3, 2) == (
        "cluster.workers=3 is more than the 2 cores, on which workers take turns; cluster.workers=2 gives each worker "
        "a core"
    )
    assert warning(2, 2) is None
    assert warning(8, 2, gpus=8.0) is None
    assert warning("2..8", 2) is None


def test_more_gpus_than_there_are_cannot_be_asked_for() -> None:
    with pytest.raises(
        ConfigError, match=r"cluster\.device=cuda asks for 3 GPUs but the cluster has 2; lower"
    ):
        place_workers(cluster(workers=3, device="cuda"), {"CPU": 16.0, "GPU": 2.0})


def test_an_autoscaling_cluster_is_asked_for_what_it_does_not_have_yet() -> None:
    placement = place_workers(cluster(workers=8, device="cuda", autoscaling=True), {"CPU": 2.0})
    assert (placement.workers, placement.cpus_per_worker, placement.use_gpu) == (8, 1.0, True)
    assert not place_workers(
        cluster(workers=3, device="cpu", autoscaling=True, cpus_per_worker=2), {}
    ).use_gpu


def test_autoscaling_must_be_told_the_device() -> None:
    with pytest.raises(ValueError, match="needs to know what to ask for"):
        cluster(workers=8, autoscaling=True)


def test_a_range_of_workers_gets_whole_cpus_and_gpus_if_there_are_enough_for_the_first_number() -> None:
    on_cpus = place_workers(cluster(workers="2..8"), {"CPU": 3.0})
    assert on_cpus == Placement(8, 1.0, use_gpu=False, min_workers=2)
    resources = {"CPU": 16.0, "GPU": 2.0}
    assert place_workers(cluster(workers="2..8"), resources) == Placement(8, 1.0, use_gpu=True, min_workers=2)
    four = place_workers(cluster(workers="2..8", cpus_per_worker=4.0), resources)
    assert four.cpus_per_worker == 4.0


def test_a_range_without_room_for_its_first_number_is_refused_unless_the_cluster_grows() -> None:
    with pytest.raises(ConfigError) as e:
        place_workers(cluster(workers="2..8", cpus_per_worker=2.0), {"CPU": 3.0})
    assert str(e.value) == (
        "cluster.workers=2..8 needs at least 2 workers, but the cluster's 3 CPUs have room for 1; add nodes, lower "
        "the first number, or say cluster.autoscaling=true if the cluster adds nodes by itself"
    )
    growing = cluster(workers="2..8", autoscaling=True, device="cuda")
    assert place_workers(growing, {"CPU": 2.0}) == Placement(8, 1.0, use_gpu=True, min_workers=2)


def test_room_is_counted_node_by_node() -> None:
    nodes = [{"CPU": 3.0, "GPU": 1.0}, {"CPU": 3.0}, {"GPU": 4.0}, {"CPU": 5.0, "GPU": 4.0}]
    assert room_for(2.0, False, nodes) == 4
    assert room_for(2.0, True, nodes) == 3
