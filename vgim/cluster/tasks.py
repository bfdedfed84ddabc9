"""Independent pieces of work side by side, each a Ray task."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from vgim.cluster.connect import ensure_ray
from vgim.errors import ConfigError, TrainingError, VgimError
from vgim.text import first_line

POLL_SECONDS = 0.3
PATIENCE_SECONDS = 30.0
"""Without a piece that has begun, after which the user is told what is waited for."""
ATTEMPTS = 2
"""Of a piece whose worker or node is lost."""

Item = TypeVar("Item")
Found = TypeVar("Found")
Say = Callable[[str], None]


@dataclass(frozen=True)
class TaskResources:
    """What each piece gets. CPUs and GPUs are Ray's bookkeeping; threads are what it computes with."""

    cpus: float
    gpus: float
    pieces_per_node: int
    node_cpus: Mapping[str, float]
    """Logical CPUs by the node's id."""

    def threads(self, node: str) -> int:
        """Threads of a piece on a node: an equal share of its cores."""
        cores = os.cpu_count() or 1
        return max(1, int(min(cores, self.node_cpus.get(node, cores))) // self.pieces_per_node)


def task_resources(nodes: Sequence[Mapping[str, Any]], workers: int, device: str) -> TaskResources:
    """Share a cluster's nodes, as `ray.nodes()` gives them, among pieces of which `workers` run at once.

    A piece asks for one CPU and never more, so that it waits for no node which another job keeps partly busy.
    With fewer GPUs than workers, several pieces share one.

    Raises:
        ConfigError: `device` is cuda and the cluster has none.
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
    function: Callable[[Item, Say], Found],
    items: Sequence[Item],
    say: Say,
    *,
    workers: int,
    device: str = "auto",
    address: str | None = None,
) -> list[Found | VgimError]:
    """Call `function(item, say)` for every item, at most `workers` at once.

    Args:
        function: What it says reaches `say` here while it works.
        device: auto (a GPU where the cluster has any), cpu, cuda.
        address: As `ensure_ray` takes it.

    Returns:
        What each call returned, in the items' order; a TrainingError where the worker was lost again and again.

    Raises:
        ConfigError: No cluster, or no such device.
        Exception: A call's own, once all others have ended.
    """
    ensure_ray(min_cpus=workers, address=address)
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
    from ray.util.queue import Queue
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    each = task_resources(ray.nodes(), workers, device)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    lines = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
    call = ray.remote(_call).options(
        num_cpus=each.cpus, num_gpus=each.gpus, max_retries=0, scheduling_strategy="SPREAD"
    )
    found: dict[int, Found | VgimError] = {}
    defects: list[Exception] = []
    waiting, running = list(range(len(items))), dict[Any, int]()
    attempts = [0] * len(items)
    told_after = time.monotonic() + PATIENCE_SECONDS
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                number = waiting.pop(0)
                attempts[number] += 1
                running[call.remote(function, items[number], lines, each)] = number
            done, _ = ray.wait(list(running), timeout=POLL_SECONDS)
            if _tell(lines, say) or done:
                told_after = math.inf
            elif time.monotonic() > told_after:
                told_after = math.inf
                say(_waiting_for(each, ray.available_resources()))
            for ref in done:
                number = running.pop(ref)
                try:
                    found[number] = ray.get(ref)
                except OutOfMemoryError:
                    found[number] = TrainingError(
                        "its node ran out of memory and Ray ended it; use fewer --workers"
                    )
                except (WorkerCrashedError, NodeDiedError) as error:
                    if attempts[number] < ATTEMPTS:
                        waiting.append(number)
                        continue
                    found[number] = TrainingError(
                        f"its worker was lost {ATTEMPTS} times ({first_line(error)})"
                    )
                except RayTaskError as error:
                    defects.append(error)
        _tell(lines, say)
    finally:
        for ref in running:
            ray.cancel(ref, force=True)
        lines.shutdown(force=True)
    if defects:
        raise defects[0]
    return [found[number] for number in range(len(items))]


def _call(function: Callable[[Any, Say], Any], item: Any, lines: Any, each: TaskResources) -> Any:
    """What Ray runs for an item."""
    import ray
    import torch

    torch.set_num_threads(each.threads(ray.get_runtime_context().get_node_id()))
    lines.put(None)  # it has begun

    def say(line: str) -> None:
        with suppress(ray.exceptions.RayActorError):  # lines are for whoever watches; the work goes on
            lines.put(line)

    return function(item, say)


def _tell(lines: Any, say: Say) -> bool:
    """Pass on what the pieces have said; whether there was anything."""
    found = lines.get_nowait_batch(lines.qsize())
    for line in found:
        if line is not None:
            say(line)
    return bool(found)


def _waiting_for(each: TaskResources, free: Mapping[str, float]) -> str:
    wanted = f"{each.cpus:g} CPU" + (f" and {each.gpus:g} GPU" if each.gpus else "")
    return (
        f"waiting for a place: each piece needs {wanted}, the cluster has {free.get('CPU', 0):g} CPU and "
        f"{free.get('GPU', 0):g} GPU free"
    )
