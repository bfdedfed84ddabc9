"""Independent tasks on Ray: their resources, their printed lines, and how a lost or failed task affects the others."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests import waiting
from tests.waiting import wait_until
from vgim.cluster import tasks
from vgim.cluster.tasks import run_tasks, task_resources
from vgim.errors import ConfigError, TrainingError

Log = Callable[[str], None]


def node(name: str, **resources: float) -> dict[str, object]:
    return {"NodeID": name, "Alive": True, "Resources": resources}


def test_tasks_share_the_cores_of_the_live_nodes_that_have_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    cluster = [node("a", CPU=16), node("b", CPU=16), {**node("dead", CPU=16), "Alive": False}, node("head")]
    for workers, threads in ((1, 16), (2, 16), (4, 8), (8, 4), (64, 1)):
        each = task_resources(cluster, workers, "auto")
        assert (each.cpus, each.gpus, each.threads("a")) == (1, 0, threads)
    assert task_resources([node("a", CPU=64)], 4, "cpu").threads("a") == 4  # more logical CPUs than cores
    assert task_resources([node("a", CPU=4)], 4, "cpu").threads("a") == 1  # a share of the machine
    assert task_resources([], 4, "auto").threads("not there yet") == 4


def test_tasks_share_gpus_if_there_are_fewer_gpus_than_workers() -> None:
    cluster = [node("a", CPU=8, GPU=2), node("b", CPU=8)]
    assert task_resources(cluster, 2, "auto").gpus == 1
    assert task_resources(cluster, 4, "cuda").gpus == 0.5
    assert task_resources(cluster, 5, "auto").gpus == 1 / 3
    assert task_resources(cluster, 4, "auto").tasks_per_node == 4
    assert task_resources(cluster, 4, "cpu").gpus == 0
    with pytest.raises(ConfigError, match="--device cuda, but no node of the cluster has a GPU"):
        task_resources([node("b", CPU=8)], 2, "cuda")


@pytest.fixture(scope="module", autouse=True)
def send_by_value() -> Iterator[None]:
    """Send the functions of this file by value, since Ray's workers cannot import it."""
    from ray import cloudpickle

    for module in (sys.modules[__name__], waiting):
        cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def meet(number: int, log: Log, *, folder: Path, num_tasks: int) -> int:
    """Wait until this many tasks run at the same time."""
    (folder / str(number)).touch()
    log(f"{number} is here")
    wait_until(lambda: len(list(folder.iterdir())) == num_tasks, f"{num_tasks} tasks run at the same time")
    return number * 10


def test_tasks_run_at_the_same_time_and_their_results_keep_the_order(
    ray_session: None, tmp_path: Path
) -> None:
    lines: list[str] = []
    results = run_tasks(partial(meet, folder=tmp_path, num_tasks=2), [3, 1], lines.append, workers=2)
    assert results == [30, 10]
    assert sorted(lines) == ["1 is here", "3 is here"]


def count_running(number: int, log: Log, *, folder: Path) -> int:
    """How many tasks run now, this one included."""
    mark = folder / str(number)
    mark.touch()
    num_running = len(list(folder.iterdir()))
    time.sleep(0.05)  # in which another task would see the mark, if one ran
    mark.unlink()
    return num_running


def test_no_more_tasks_run_at_once_than_there_are_workers(ray_session: None, tmp_path: Path) -> None:
    assert run_tasks(partial(count_running, folder=tmp_path), range(4), print, workers=1) == [1, 1, 1, 1]


def lose_worker(number: int, log: Log, *, folder: Path) -> int:
    """End the process of task 1 at its first attempt, and of task 2 at every attempt; else return the attempt."""
    attempt = 1 + len(list(folder.glob(f"{number}-*")))
    (folder / f"{number}-{attempt}").touch()
    if number == 2 or (number == 1 and attempt == 1):
        os._exit(1)
    return attempt


def test_a_task_whose_worker_is_lost_runs_again_and_fails_alone_if_it_is_lost_twice(
    ray_session: None, tmp_path: Path
) -> None:
    first, second, third = run_tasks(partial(lose_worker, folder=tmp_path), range(3), print, workers=2)
    assert (first, second) == (1, 2)
    assert isinstance(third, TrainingError)
    assert str(third).startswith("its worker was lost 2 times (")
    assert "\n" not in str(third)


def fail_first(number: int, log: Log, *, folder: Path) -> None:
    if number == 0:
        raise ZeroDivisionError("a defect")
    (folder / str(number)).touch()


def test_an_unexpected_error_is_raised_once_the_other_tasks_have_ended(
    ray_session: None, tmp_path: Path
) -> None:
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run_tasks(partial(fail_first, folder=tmp_path), range(3), print, workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_task_that_waits_for_a_free_cpu_says_so_once(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(tasks, "PATIENCE_SECONDS", 0.5)

    logged = tmp_path / "logged"

    @ray.remote(num_cpus=4)  # the whole cluster
    def busy() -> None:
        wait_until(logged.exists, "run_tasks says that it waits")

    running = busy.remote()
    wait_until(lambda: not ray.available_resources().get("CPU"), "a task takes all CPUs")
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        logged.touch()

    folder = tmp_path / "tasks"
    folder.mkdir()
    assert run_tasks(partial(count_running, folder=folder), [7], log, workers=1) == [1]
    assert lines == ["waiting for resources: each task needs 1 CPU, the cluster has 0 CPU and 0 GPU free"]
    ray.get(running)


def test_lines_that_are_lost_after_they_were_counted_end_nothing() -> None:
    from ray.util.queue import Empty

    class Restarted:
        def qsize(self) -> int:
            return 1

        def get_nowait_batch(self, num_items: int) -> list[str]:
            raise Empty(f"Cannot get {num_items} items from queue of size 0.")

    lines: list[str] = []
    assert not tasks._print_lines(Restarted(), lines.append)
    assert lines == []


def kill_the_queue_of_lines(number: int, log: Log) -> int:
    import ray

    queue = inspect.getclosurevars(log).nonlocals["lines"].actor
    with suppress(ray.exceptions.RayActorError):
        os.kill(ray.get(queue.__ray_call__.remote(lambda actor: os.getpid())), signal.SIGKILL)
    log(f"{number} goes on")
    return number


def test_the_loss_of_the_process_that_passes_lines_on_ends_nothing(ray_session: None) -> None:
    lines: list[str] = []
    assert run_tasks(kill_the_queue_of_lines, [1], lines.append, workers=1) == [1]
    assert lines == ["1 goes on"]
