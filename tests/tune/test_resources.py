"""How a cluster is divided among trials."""

from __future__ import annotations

import pytest

from tests.tune.sweep_cases import MakeSweep
from vgim.config.schema import ClusterConfig
from vgim.errors import ConfigError
from vgim.tune import resources
from vgim.tune.resources import divide_cluster, missing_now

SPACE = {"objective.kld_weight": "[0.001, 0.01]", "model.depth": "[2, 1]"}


@pytest.mark.parametrize(
    ("resources", "workers", "private", "at_once", "cpus", "gpu", "threads"),
    [
        ({"CPU": 2.0}, 1, True, 2, 1.0, False, 1),  # each has a core for its worker
        ({"CPU": 2.0}, 1, False, 1, 1.0, False, 2),  # one worker, one for Ray Data
        ({"CPU": 2.0}, 2, False, 1, 0.5, False, 1),  # as in a single run
        ({"CPU": 2.0}, 2, True, 1, 1.0, False, 1),
        ({"CPU": 64.0}, 3, False, 16, 1.0, False, 1),
        ({"CPU": 64.0, "GPU": 8.0}, 2, False, 4, 1.0, True, 8),
        ({"CPU": 6.0, "GPU": 8.0}, 1, False, 3, 1.0, True, 2),  # CPUs are what is short
    ],
)
def test_every_trial_gets_its_workers_and_a_cpu_for_ray_data(
    tiny_sweep: MakeSweep,
    resources: dict[str, float],
    workers: int,
    private: bool,
    at_once: int,
    cpus: float,
    gpu: bool,
    threads: int,
) -> None:
    sweep = tiny_sweep(SPACE)
    cluster = ClusterConfig(workers=workers)
    shares = divide_cluster(
        sweep.config, sweep.base.model_copy(update={"cluster": cluster}), resources, private=private
    )
    assert shares.placement is not None
    given = shares.placement
    assert (shares.trials_at_once, given.cpus_per_worker, given.use_gpu) == (at_once, cpus, gpu)
    assert shares.threads == threads
    offered = shares.logical_cpus if private else resources["CPU"]
    assert at_once * (workers * given.cpus_per_worker + 1) <= offered
    assert shares.driver["cpu"] == 0


@pytest.mark.parametrize(("workers", "cpus_per_worker"), [(1, 0.2), (2, 0.1), (3, 0.7)])
def test_trials_may_ask_for_parts_of_cpus(
    tiny_sweep: MakeSweep, workers: int, cpus_per_worker: float
) -> None:
    sweep = tiny_sweep(SPACE)
    cluster = ClusterConfig(workers=workers, cpus_per_worker=cpus_per_worker)
    base = sweep.base.model_copy(update={"cluster": cluster})
    for private in (True, False):
        shares = divide_cluster(sweep.config, base, {"CPU": 16.0}, private=private)
        assert shares.placement is not None
        assert shares.placement.cpus_per_worker == cpus_per_worker


def test_more_trials_at_once_than_fit_are_refused(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(SPACE, "trials_at_once=4", "cluster.workers=1")
    with pytest.raises(ConfigError, match=r"trials_at_once=4 leaves each trial 0\.5 of 2 CPUs"):
        divide_cluster(sweep.config, sweep.base, {"CPU": 2.0}, private=False)
    cuda = sweep.base.model_copy(update={"cluster": ClusterConfig(workers=2, device="cuda")})
    with pytest.raises(ConfigError, match="would take 8 of 4"):
        divide_cluster(sweep.config, cuda, {"CPU": 64.0, "GPU": 4.0}, private=False)


@pytest.mark.parametrize(
    ("at_once", "workers", "gpus", "instead"),
    [(8, 1, 4.0, "trials_at_once=4"), (8, 0, 4.0, "trials_at_once=4"), (1, 3, 2.0, "cluster.workers=2")],
)
def test_trials_that_would_leave_gpus_unused_are_refused(
    tiny_sweep: MakeSweep, at_once: int, workers: int, gpus: float, instead: str
) -> None:
    sweep = tiny_sweep(SPACE, f"trials_at_once={at_once}")
    base = sweep.base.model_copy(update={"cluster": ClusterConfig(workers=workers)})
    for private in (True, False):
        with pytest.raises(ConfigError) as e:
            divide_cluster(sweep.config, base, {"CPU": 64.0, "GPU": gpus}, private=private)
        assert str(e.value) == (
            f"trials_at_once={at_once} x cluster.workers={max(1, workers)} needs {at_once * max(1, workers)} GPUs and "
            f"the cluster has {gpus:g}, which cluster.device=auto would leave unused; use {instead}, or "
            "cluster.device=cpu to train on CPUs all the same"
        )


def test_trials_take_no_range_of_workers(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(SPACE, "cluster.workers=1..2")
    with pytest.raises(ConfigError, match=r"give a sweep one number, such as cluster\.workers=2$"):
        divide_cluster(sweep.config, sweep.base, {"CPU": 8.0}, private=True)


def test_an_autoscaling_cluster_is_asked_for_resources_that_it_does_not_have_yet(
    tiny_sweep: MakeSweep,
) -> None:
    sweep = tiny_sweep(SPACE, "trials_at_once=4")
    growing = ClusterConfig(workers=2, device="cuda", autoscaling=True)
    base = sweep.base.model_copy(update={"cluster": growing})
    shares = divide_cluster(sweep.config, base, {"CPU": 2.0}, private=False)
    assert shares.placement is not None
    given = shares.placement
    assert (shares.trials_at_once, given.workers, given.cpus_per_worker, given.use_gpu) == (4, 2, 1.0, True)
    alone = sweep.base.model_copy(update={"cluster": growing.model_copy(update={"workers": 0})})
    assert divide_cluster(sweep.config, alone, {"CPU": 2.0}, private=False).driver == {"cpu": 1.0, "gpu": 1.0}


def test_a_trial_says_what_it_waits_for_until_there_is_room_for_it(tiny_sweep: MakeSweep) -> None:
    sweep = tiny_sweep(SPACE, "cluster.workers=2")
    shared = divide_cluster(sweep.config, sweep.base, {"CPU": 4.0}, private=False)
    assert shared.placement is not None
    assert shared.placement.waits_its_turn
    assert shared.missing({"CPU": 1.0}) == "waiting for 2 x 1 CPU; the cluster has 1 CPU free"
    assert shared.missing({}) == ""  # not known
    assert shared.missing({"CPU": 2.0}) == ""
    private = divide_cluster(sweep.config, sweep.base, {"CPU": 4.0}, private=True)
    assert private.placement is not None
    assert not private.placement.waits_its_turn
    in_drivers = tiny_sweep(SPACE, "cluster.workers=0")
    shared = divide_cluster(in_drivers.config, in_drivers.base, {"CPU": 4.0}, private=False)
    assert shared.missing({"memory": 1.0}) == "waiting for 1 x 1 CPU; the cluster has 0 CPU free"
    assert shared.missing({"CPU": 1.0}) == ""


def test_trials_whose_workers_have_room_wait_for_nothing_while_they_start(
    tiny_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = tiny_sweep(SPACE, "cluster.workers=2")
    shared = divide_cluster(sweep.config, sweep.base, {"CPU": 4.0}, private=False)
    monkeypatch.setattr(resources, "free_resources", lambda: {"CPU": 1.0})
    monkeypatch.setattr(
        resources, "group_states", lambda: {"CREATED"}
    )  # it has taken the CPUs that are not free
    assert missing_now(shared) == ""
    monkeypatch.setattr(resources, "group_states", lambda: {"CREATED", "PENDING"})
    assert missing_now(shared) == "waiting for 2 x 1 CPU; the cluster has 1 CPU free"
