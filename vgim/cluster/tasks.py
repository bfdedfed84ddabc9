"""Calls a function for many items at the same time, each call a Ray task."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from vgim.cluster.connect import WITHOUT_RAY, ensure_ray
from vgim.errors import ConfigError, TrainingError, VgimError
from vgim.progress import SILENT, Progress
from vgim.text import first_line

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 30.0
"""Seconds without a task that has begun, after which the user is told what the tasks wait for."""
ATTEMPTS = 2
"""Number of times that a task is started whose worker or node is lost."""

Item = TypeVar("Item")
Result = TypeVar("Result")
Log = Callable[[str], None]
"""Prints a line."""


@dataclass(frozen=True)
class TaskResources:
    """Resources of each task. CPUs and GPUs are Ray's bookkeeping; threads are what a task computes with."""

    cpus: float
    gpus: float
    tasks_per_node: int
    node_cpus: Mapping[str, float]
    """Logical CPUs of each node, by its id."""

    def threads(self, node: str) -> int:
        """Threads of a task on a node: an equal share of the node's cores."""
        cores = os.cpu_count() or 1
        return max(1, int(min(cores, self.node_cpus.get(node, cores))) // self.tasks_per_node)


def task_resources(nodes: Sequence[Mapping[str, Any]], workers: int, device: str) -> TaskResources:
    """Divide a cluster among tasks.

    A task asks for one CPU and never more, so that it need not wait for a node that another job keeps partly busy.
    With fewer GPUs than tasks at once, several tasks share a GPU.

    Args:
        nodes: The cluster's nodes, as `ray.nodes()` returns them.
        workers: Tasks that run at the same time.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: `device` is cuda and the cluster has no GPU.
    """
    resources = {n["NodeID"]: n["Resources"] for n in nodes if n["Alive"] and n["Resources"].get("CPU")}
    num_gpus = int(sum(r.get("GPU", 0) for r in resources.values()))
    if device == "cuda" and not num_gpus:
        raise ConfigError(
            "--device cuda, but no node of the cluster has a GPU; add one, or use --device auto or cpu"
        )
    gpus = 0.0
    if num_gpus and device != "cpu":
        gpus = 1 / math.ceil(workers / num_gpus)
        resources = {node: r for node, r in resources.items() if r.get("GPU")}
    per_node = math.ceil(workers / max(1, len(resources)))
    return TaskResources(1.0, gpus, per_node, {node: float(r["CPU"]) for node, r in resources.items()})


def run_tasks(
    function: Callable[[Item, Log], Result],
    items: Sequence[Item],
    log: Log,
    *,
    workers: int,
    device: str = "auto",
    address: str | None = None,
    progress: Progress = SILENT,
    ended: Callable[[int], None] = lambda number: None,
) -> list[Result | VgimError]:
    """Call `function(item, log)` for every item, at most `workers` calls at the same time.

    Args:
        function: Its second argument prints a line through `log` here, while the call runs.
        items: Arguments of the calls.
        log: Prints a line.
        workers: Largest number of calls at the same time.
        device: auto (a GPU if the cluster has any), cpu or cuda.
        address: Address of the cluster, see `ensure_ray`.
        progress: Where to report how many calls have ended.
        ended: Called with the number of an item whose call has returned.

    Returns:
        The result of each call in the order of the items; a TrainingError for a call whose worker was lost
        `ATTEMPTS` times.

    Raises:
        ConfigError: There is no cluster at the address, or the cluster has no such device.
        Exception: What a call raised, once all other calls have ended.
    """
    ensure_ray(min_cpus=workers, address=address, without_ray=WITHOUT_RAY, progress=progress)
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    each = task_resources(ray.nodes(), workers, device)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    # Lines that are lost with the queue's process are no reason to end the work.
    restarts = {"max_restarts": -1, "max_task_retries": -1}
    lines = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here, **restarts})
    call = ray.remote(_call).options(
        num_cpus=each.cpus, num_gpus=each.gpus, max_retries=0, scheduling_strategy="SPREAD"
    )
    results: dict[int, Result | VgimError] = {}
    defects: list[Exception] = []
    waiting, running = list(range(len(items))), dict[Any, int]()
    attempts = [0] * len(items)
    log_waiting_at = time.monotonic() + PATIENCE_SECONDS
    with (
        _closing(lines, running),
        progress.stage("computing on Ray", total=len(items), unit="task", even=False) as stage,
    ):
        while waiting or running:
            while waiting and len(running) < workers:
                number = waiting.pop(0)
                attempts[number] += 1
                running[call.remote(function, items[number], lines, each)] = number
            done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            if _print_lines(lines, log) or done:
                log_waiting_at = math.inf
            elif time.monotonic() > log_waiting_at:
                log_waiting_at = math.inf
                log(_waiting_message(each, ray.available_resources()))
            for ref in done:
                number = running.pop(ref)
                try:
                    results[number] = ray.get(ref)
                    ended(number)
                except OutOfMemoryError:
                    results[number] = TrainingError(
                        "its node ran out of memory and Ray ended it; use fewer --workers"
                    )
                except (WorkerCrashedError, NodeDiedError) as error:
                    if attempts[number] < ATTEMPTS:
                        waiting.append(number)
                        continue
                    results[number] = TrainingError(
                        f"its worker was lost {ATTEMPTS} times ({first_line(error)})"
                    )
                except RayTaskError as error:
                    defects.append(error)
                stage.advance()
        _print_lines(lines, log)
    if defects:
        raise defects[0]
    return [results[number] for number in range(len(items))]


@contextmanager
def _closing(lines: Any, running: Mapping[Any, int]) -> Iterator[None]:
    """Cancel the calls that still run when the context ends, and end the queue's process."""
    import ray

    try:
        yield
    finally:
        for ref in running:
            ray.cancel(ref, force=True)
        lines.shutdown(force=True)


def _call(function: Callable[[Any, Log], Any], item: Any, lines: Any, each: TaskResources) -> Any:
    """Call the function for an item, in a Ray task."""
    import ray
    import torch

    torch.set_num_threads(each.threads(ray.get_runtime_context().get_node_id()))
    lines.put(None)  # it has begun

    def log(line: str) -> None:
        with suppress(ray.exceptions.RayActorError):  # a line that nobody sees must not end the work
            lines.put(line)

    return function(item, log)


def _print_lines(lines: Any, log: Log) -> bool:
    """Print the lines that calls sent; returns whether there was any, or a call has begun."""
    from ray.util.queue import Empty

    try:
        received = lines.get_nowait_batch(lines.qsize())
    except Empty:  # the queue's process was lost, and with it the lines that were just counted
        return False
    for line in received:
        if line is not None:
            log(line)
    return bool(received)


def _waiting_message(each: TaskResources, free: Mapping[str, float]) -> str:
    needs = f"{each.cpus:g} CPU" + (f" and {each.gpus:g} GPU" if each.gpus else "")
    return (
        f"waiting for resources: each task needs {needs}, the cluster has {free.get('CPU', 0):g} CPU and "
        f"{free.get('GPU', 0):g} GPU free"
    )
