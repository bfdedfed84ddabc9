"""Pieces side by side on Ray: what each gets, what is told, and what a lost or broken one does to the others."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests import waiting
from tests.waiting import wait_until
from vgim.cluster import tasks
from vgim.cluster.tasks import run_tasks, task_resources
from vgim.errors import ConfigError, TrainingError

Say = Callable[[str], None]


def node(name: str, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Alive": True, "Resources": resources}


def test_pieces_share_the_cores_of_the_nodes_that_can_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    cluster = [node("a", CPU=16), node("b", CPU=16), {**node("dead", CPU=16), "Alive": False}, node("head")]
    for workers, threads in ((1, 16), (2, 16), (4, 8), (8, 4), (64, 1)):
        each = task_resources(cluster, workers, "auto")
        assert (each.cpus, each.gpus, each.threads("a")) == (1, 0, threads)
    assert task_resources([node("a", CPU=64)], 4, "cpu").threads("a") == 4  # more logical CPUs than cores
    assert task_resources([node("a", CPU=4)], 4, "cpu").threads("a") == 1  # a share of the machine
    assert task_resources([], 4, "auto").threads("not there yet") == 4


def test_pieces_share_gpus_where_there_are_fewer_than_workers() -> None:
    cluster = [node("a", CPU=8, GPU=2), node("b", CPU=8)]
    assert task_resources(cluster, 2, "auto").gpus == 1
    assert task_resources(cluster, 4, "cuda").gpus == 0.5
    assert task_resources(cluster, 5, "auto").gpus == 1 / 3
    assert task_resources(cluster, 4, "auto").pieces_per_node == 4
    assert task_resources(cluster, 4, "cpu").gpus == 0
    with pytest.raises(ConfigError, match="--device cuda, but no node of the cluster has a GPU"):
        task_resources([node("b", CPU=8)], 2, "cuda")


@pytest.fixture(scope="module", autouse=True)
def by_value() -> Iterator[None]:
    """Send the functions of the tests by value, since Ray's workers cannot import them."""
    from ray import cloudpickle

    for module in (sys.modules[__name__], waiting):
        cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def _meet(number: int, say: Say, *, folder: Path, others: int) -> int:
    """Waits until so many others work at the same time."""
    (folder / str(number)).touch()
    say(f"{number} is here")
    wait_until(lambda: len(list(folder.iterdir())) >= others, f"{others} pieces work at the same time")
    return number * 10


def test_they_work_at_the_same_time_and_come_back_in_order(ray_session: None, tmp_path: Path) -> None:
    said: list[str] = []
    found = run_tasks(partial(_meet, folder=tmp_path, others=2), [3, 1], said.append, workers=2)
    assert found == [30, 10]
    assert sorted(said) == ["1 is here", "3 is here"]


def _count(number: int, say: Say, *, folder: Path) -> int:
    mine = folder / str(number)
    mine.touch()
    num = len(list(folder.iterdir()))
    time.sleep(0.05)
    mine.unlink()
    return num


def test_no_more_than_the_workers_at_once(ray_session: None, tmp_path: Path) -> None:
    assert run_tasks(partial(_count, folder=tmp_path), range(4), print, workers=1) == [1, 1, 1, 1]


def _stumble(number: int, say: Say, *, folder: Path) -> int:
    mark = folder / f"{number}-{time.monotonic_ns()}"
    mark.touch()
    times = len(list(folder.glob(f"{number}-*")))
    if number == 2 or (number == 1 and times == 1):
        os._exit(1)
    return times


def test_a_lost_worker_gets_another_try_and_then_an_error_of_its_own(
    ray_session: None, tmp_path: Path
) -> None:
    first, second, third = run_tasks(partial(_stumble, folder=tmp_path), range(3), print, workers=2)
    assert (first, second) == (1, 2)
    assert isinstance(third, TrainingError)
    assert str(third).startswith("its worker was lost 2 times (")
    assert "\n" not in str(third)


def _break(number: int, say: Say, *, folder: Path) -> None:
    if number == 0:
        raise ZeroDivisionError("a defect")
    (folder / str(number)).touch()


def test_a_defect_is_raised_once_the_others_have_ended(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run_tasks(partial(_break, folder=tmp_path), range(3), print, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_waiting_for_a_place_is_told_once(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(tasks, "PATIENCE_SECONDS", 0.5)

    told = tmp_path / "told"

    @ray.remote(num_cpus=4)  # the whole cluster
    def busy() -> None:
        wait_until(told.exists, "the waiting is told")

    taken = busy.remote()
    wait_until(lambda: not ray.available_resources().get("CPU"), "the whole cluster is taken")
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        told.touch()

    place = tmp_path / "pieces"
    place.mkdir()
    assert run_tasks(partial(_count, folder=place), [7], say, workers=1) == [1]
    assert said == ["waiting for a place: each piece needs 1 CPU, the cluster has 0 CPU and 0 GPU free"]
    ray.get(taken)
