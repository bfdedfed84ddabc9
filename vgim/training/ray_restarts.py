"""Why Ray Train starts the workers of a run anew: some were lost, or a node is taken away with notice.

Spot machines that a cloud wants back and nodes that are drained by hand come with a notice. Ray Train's controller lets
the workers go on until it runs out, starts them anew on other nodes, and does not count that as a failure. What is left
to do is to write a checkpoint in time, and to tell such a move from lost workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from vgim.runs.folder import RunFolder
from vgim.storage import Location
from vgim.text import first_line
from vgim.training.errors import causes_of


class PreemptionNotice:
    """Hears, in a worker of Ray Train, that nodes of the run's workers will be taken away."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def __call__(self) -> str:
        """A sentence on nodes that no earlier call has told of; empty for none. Costs nothing and waits for nobody."""
        import ray
        from ray.train.v2._internal.execution.context import get_train_context

        # `ray.train.get_preemption_info` would make all ranks wait for each other.
        context = getattr(get_train_context(), "preemption_context", None)
        info = None if context is None else context.preemption_info
        if info is None or not (nodes := set(info.preempted_node_ids) - self._told):
            return ""
        self._told |= nodes
        addresses = sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] in nodes)
        return describe_notice(addresses, info.deadline_ms, time.time())


def describe_notice(addresses: Iterable[str], deadline_ms: int | None, now_s: float) -> str:
    """The sentence on a notice.

    Args:
        addresses: Nodes that will be taken away.
        deadline_ms: When they go, in milliseconds since 1970; None if that is not known.
        now_s: Seconds since 1970.
    """
    when = "soon" if deadline_ms is None else f"in {max(deadline_ms / 1000 - now_s, 0):.0f} s"
    return (
        f"{', '.join(addresses)} will be taken away {when}: a checkpoint is written now, from which the workers start "
        "anew on other nodes"
    )


def describe_loss(failures: Mapping[int, BaseException], nodes: Iterable[Mapping[str, Any]]) -> str:
    """Which worker was lost, and with which node, in words; empty if no worker has an error.

    Args:
        failures: Errors of workers by rank. Ranks that wait for a lost one fail too, maybe before Ray misses it; their
            errors name its address.
        nodes: The cluster's nodes, as `ray.nodes()` returns them.
    """
    from ray.exceptions import RayActorError

    gone = {node["NodeID"]: node["NodeManagerAddress"] for node in nodes if not node["Alive"]}
    for rank, failure in sorted(failures.items()):
        for cause in causes_of(failure):
            if isinstance(cause, RayActorError):
                address = next((address for node, address in gone.items() if node in str(cause)), None)
                what = first_line(cause) if address is None else f"its node {address} is gone"
                return f"worker {rank}: {what}"
    for rank, failure in sorted(failures.items()):
        *_, innermost = causes_of(failure)
        sentence, _, _ = first_line(innermost).partition(". ")  # gloo gives advice after it
        return f"worker {rank}: {sentence}"
    return ""


def restart_callback(run: Location) -> Any:
    """A Ray callback, called in Ray's controller, that writes into the run's record why its workers start anew.

    Returns:
        A `ControllerCallback`, a class of Ray's that is imported only here.
    """
    import ray
    from ray.train.v2._internal.execution.callback import ControllerCallback
    from ray.train.v2._internal.execution.controller.state import RestartingState
    from ray.train.v2._internal.execution.failure_handling.default import _is_preemption_failure

    class Restarts(ControllerCallback):  # type: ignore[misc]
        def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
            if not isinstance(current_state, RestartingState):
                return
            error = current_state.training_failed_error
            if _is_preemption_failure(error):
                RunFolder(run).begin_move()
            else:
                RunFolder(run).tell_loss(describe_loss(getattr(error, "worker_failures", {}), ray.nodes()))

    return Restarts()
