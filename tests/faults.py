"""Faults that a test plants in the workers of a run on Ray, at a training step of its choice.

A fault is a function of a run's config, the rank and the step that the rank is about to take. Because it stands in
the step itself, it comes at the same step on every machine, however fast or busy.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.waiting import wait_until

if TYPE_CHECKING:
    from vgim.cluster.placement import Placement
    from vgim.config import AnyConfig
    from vgim.training.job import TrainJob
    from vgim.tune.trial_driver import TrialContext
    from vgim.tune.trials import TrialChain

Fault = Callable[["AnyConfig", int, int], None]


def workers_with(fault: Fault) -> Callable[[TrainJob, Placement], None]:
    """A function for the workers on Ray, in place of `vgim.training.on_ray._train_worker`, that meets the fault."""
    _send_by_value()

    def train_worker(job: TrainJob, placement: Placement) -> None:
        import ray.train

        from vgim.training import on_ray

        rank = 0 if placement.is_alone else ray.train.get_context().get_world_rank()
        _meet(fault, rank)
        on_ray._train_worker(job, placement)

    return train_worker


def _meet(fault: Fault, rank: int) -> None:
    """Let this process, in which `rank` trains, meet the fault before each step."""
    from vgim.training.greedy import GreedyLearner

    take_step = GreedyLearner.step

    def step(learner: GreedyLearner, audio: Any, progress: Any, **options: Any) -> Any:
        fault(learner._config, rank, progress.step)
        return take_step(learner, audio, progress, **options)

    GreedyLearner.step = step  # type: ignore[method-assign]


def drivers_with(fault: Fault) -> Callable[..., None]:
    """A function for drivers of trials that train in them, in place of `vgim.tune.ray_tuner.run_chain`."""
    _send_by_value()

    def run_chain(*arguments: Any) -> None:
        from vgim.tune import trial_driver

        _meet(fault, 0)
        trial_driver.run_chain(*arguments)

    return run_chain


def trials_with(fault: Fault) -> Callable[..., None]:
    """A function for drivers of trials, in place of `vgim.tune.ray_tuner.run_chain`, whose workers meet the fault."""
    train_worker = workers_with(fault)

    def run_chain(chain: TrialChain, context: TrialContext, *rest: Any) -> None:
        from vgim.training import on_ray
        from vgim.tune import trial_driver

        on_ray._train_worker = train_worker
        trial_driver.run_chain(chain, context, *rest)

    return run_chain


def each_of(*faults: Fault) -> Fault:
    """Meet several faults."""

    def fault(config: AnyConfig, rank: int, step: int) -> None:
        for one in faults:
            one(config, rank, step)

    return fault


def _send_by_value() -> None:
    """Let Ray send these functions by value, since its workers cannot import the tests."""
    from ray import cloudpickle

    for name in (__name__, wait_until.__module__):
        cloudpickle.register_pickle_by_value(sys.modules[name])


def kill_once(mark: Path, *, rank: int, at_step: int) -> Fault:
    """Kill the worker of a rank, the first time that it comes to a step; `mark` is made just before."""

    def fault(config: AnyConfig, own_rank: int, step: int) -> None:
        if (own_rank, step) == (rank, at_step) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    return fault


def signal_driver_once(mark: Path, driver: int, number: int, *, at_step: int) -> Fault:
    """Send a signal to a driver on this machine when rank 0 comes to a step, and hold rank 0 until it is asked to stop.

    Every step takes long enough for the ranks to exchange their wishes before the run's end.
    """

    def fault(config: AnyConfig, rank: int, step: int) -> None:
        time.sleep(0.05)
        if (rank, step) == (0, at_step) and not mark.exists():
            mark.touch()
            os.kill(driver, number)
            # The thread that looks for the request ends when it has found one.
            wait_until(
                lambda: all(t.name != "stop-watch" for t in threading.enumerate()), "the request to stop"
            )

    return fault


def hold_until(mark: Path, *, at_step: int, learning_rate: float | None = None) -> Fault:
    """Hold every rank before a step until `mark` exists, in all runs or in those with this learning rate."""

    def fault(config: AnyConfig, rank: int, step: int) -> None:
        if step == at_step and learning_rate in (None, config.optim.learning_rate):
            wait_until(mark.exists, f"{mark} at step {step} of rank {rank}")

    return fault


def hold_until_notice(mark: Path, *, at_step: int) -> Fault:
    """Hold the workers of Ray Train before a step until they hear that a node will be taken away, or `mark` exists."""

    def fault(config: AnyConfig, rank: int, step: int) -> None:
        from ray.train.v2._internal.execution.context import get_train_context

        heard = get_train_context().preemption_context
        if step == at_step:
            wait_until(lambda: heard.preemption_info is not None or mark.exists(), f"a notice to rank {rank}")

    return fault
