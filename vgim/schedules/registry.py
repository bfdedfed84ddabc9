"""The schedules that a config can name. A new schedule is a file of this folder and an entry of `SCHEDULES`."""

from __future__ import annotations

from collections.abc import Callable

from vgim.schedules.joint import Joint
from vgim.schedules.parallel import Parallel
from vgim.schedules.schedule import Schedule
from vgim.schedules.sequential import Sequential

SCHEDULES: dict[str, Schedule] = {
    schedule.name: schedule
    for schedule in (
        Joint(),
        Sequential(),
        Parallel(),
    )
}
"""Schedules by name."""


def names_of_schedules(allowed: Callable[[Schedule], bool]) -> str:
    """Names of the schedules that pass a test, as `joint or sequential`, for the advice of an error message."""
    return " or ".join(schedule.name for schedule in SCHEDULES.values() if allowed(schedule))


def same_steps(one: str, other: str) -> bool:
    """Whether two schedules, by name, compute the same steps, so that a run of one goes on under the other."""
    return (
        one == other
        or one == SCHEDULES[other].takes_the_steps_of
        or other == SCHEDULES[one].takes_the_steps_of
    )


def schedules_help() -> str:
    """The schedules and their summaries, for the help text of `train.schedule`."""
    return "; ".join(f"{schedule.name}: {schedule.summary}" for schedule in SCHEDULES.values())
