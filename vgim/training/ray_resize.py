"""What Ray's controller does beside Ray's own elastic scaling, for runs whose number of workers may change."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from vgim.cluster.placement import Placement, room_for
from vgim.errors import TrainingError
from vgim.runs.continuation import continuation
from vgim.runs.folder import RunFolder
from vgim.runs.metrics import append_event
from vgim.storage import Location
from vgim.text import plural

WAIT_POLL_S = 1.0
"""Seconds between two looks at a cluster that has too few nodes."""
TELL_AFTER_S = 10.0
"""Seconds without workers after which the log says so."""


def resize_callback(run: Location, placement: Placement, *, timeout_s: float, interval_s: float) -> Any:
    """A Ray callback, called in Ray's controller, for workers whose number follows the cluster.

    It counts resizes, so that they are not taken for lost workers. It looks at the nodes whenever workers have to be
    started: Ray notices nodes that came or went only after 20 seconds, and would wait until then for nodes that are
    gone. It ends a run that finds no room for its fewest workers in time.

    Args:
        placement: resources of the workers.
        timeout_s: seconds without workers after which the run ends.
        interval_s: seconds between two looks at the nodes while workers train.

    Returns:
        A `ControllerCallback`, a class of Ray's that is imported only here.
    """
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.controller import state

    without_workers = (state.InitializingState, state.RestartingState, state.ReschedulingState)

    class Resizes(ControllerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self._had_workers_at = self._looked_at = 0.0
            self._has_told = False

        def after_controller_start(self, train_run_context: Any) -> None:
            self._had_workers_at = time.monotonic()
            look_at_nodes(wait=True)

        def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
            now = time.monotonic()
            if isinstance(current_state, state.RunningState):
                self._had_workers_at, self._has_told = now, False
                if now - self._looked_at >= interval_s:
                    self._looked_at = now
                    look_at_nodes(wait=False)
            elif isinstance(current_state, state.ResizingState):
                RunFolder(run).begin_resize()
            elif isinstance(current_state, without_workers):
                self._wait(now - self._had_workers_at)

        def _wait(self, waited_s: float) -> None:
            """Wait a moment and look for room for workers, before Ray decides on their number."""
            if waited_s > timeout_s:
                raise TrainingError(
                    f"no workers could be started for {timeout_s:g} s (cluster.start_timeout_s): {room(placement)}; "
                    f"when there are more nodes, {continuation(run)}"
                )
            if waited_s > TELL_AFTER_S and not self._has_told:
                self._has_told = True
                append_event(run, f"waiting for nodes, at most {timeout_s:g} s in all: {room(placement)}")
            time.sleep(WAIT_POLL_S)  # Ray itself would ask again at once, and keep a core busy
            look_at_nodes(wait=True)

    return Resizes()


def look_at_nodes(*, wait: bool) -> None:
    """Let Ray's record of the cluster's resources know the nodes of this moment.

    Args:
        wait: whether to return only when it does.
    """
    import ray
    from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import (
        get_or_create_autoscaling_coordinator,
    )

    with suppress(Exception):  # without it, Ray looks by itself every 20 seconds
        looked = get_or_create_autoscaling_coordinator().get_reserved_resources.remote("", True)
        if wait:
            ray.get(looked, timeout=5)


def room(placement: Placement) -> str:
    """The room for workers that the cluster has, and the room that they need."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has_room_for = room_for(placement.cpus_per_worker, placement.use_gpu, nodes)
    each = f"{placement.cpus_per_worker:g} CPU" + (" and 1 GPU" if placement.use_gpu else "")
    return (
        f"the run needs at least {plural(placement.min_workers or 1, 'worker')} of {each}, and the cluster has room "
        f"for {has_room_for}"
    )
