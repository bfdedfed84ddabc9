"""Every schedule answers for itself: its phases, and what a config may combine with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vgim.config import ResolvedConfig
from vgim.config.keys import config_keys
from vgim.errors import ConfigError
from vgim.schedules.registry import SCHEDULES, names_of_schedules, same_steps

MODULES = (0, 1, 2)


def test_the_config_key_takes_and_explains_every_registered_schedule() -> None:
    key = config_keys().leaves["train.schedule"]
    assert key.expects == f"one of {', '.join(SCHEDULES)}"
    for name, schedule in SCHEDULES.items():
        assert schedule.name == name
        assert f"{name}: {schedule.summary}" in key.doc


@pytest.mark.parametrize("name", SCHEDULES)
def test_phases_are_numbered_in_order_and_train_every_module(name: str) -> None:
    schedule = SCHEDULES[name]
    phases = schedule.phases(MODULES, 5, ())
    assert [phase.number for phase in phases] == list(range(len(phases)))
    assert {m for phase in phases for m in phase.modules} == set(MODULES)
    assert all(phase.epochs == 5 for phase in phases)
    throughout = all(phase.modules == MODULES for phase in phases)
    assert schedule.trains_all_modules_throughout is throughout


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_shallower_run_is_the_first_phases_of_a_deeper_one_where_the_schedule_says_so(name: str) -> None:
    schedule = SCHEDULES[name]
    shallow, deep = (schedule.phases(modules, 5, ()) for modules in (MODULES[:2], MODULES))
    assert schedule.continues_shallower_runs is (deep[: len(shallow)] == shallow)


def test_schedules_that_compute_the_same_steps_say_so() -> None:
    assert same_steps("joint", "parallel")
    assert same_steps("parallel", "joint")
    assert same_steps("sequential", "sequential")
    assert not same_steps("sequential", "parallel")
    assert not same_steps("joint", "sequential")


def test_only_a_schedule_of_one_module_per_phase_names_the_module_that_starts() -> None:
    joint, sequential = (SCHEDULES[name] for name in ("joint", "sequential"))
    assert joint.phase_message(joint.phases(MODULES, 1, ())[0], 0) is None
    phase = sequential.phases(MODULES, 1, ())[2]
    assert sequential.phase_message(phase, 40) == "module 2 trains from step 40 on"


def test_advice_names_the_schedules_that_fit() -> None:
    assert names_of_schedules(lambda schedule: True) == "joint or sequential or parallel"
    assert names_of_schedules(lambda schedule: schedule.takes_module_epochs) == "sequential"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("train.schedule=sequential", "model.family=cpc", "objective.kld_weight=0"),
            "train.schedule=sequential has no meaning for one module; use joint",
        ),
        (
            ("train.module_epochs=[1, 1, 1, 1]",),
            "has no effect under train.schedule=joint; .* use sequential",
        ),
    ],
)
def test_a_config_that_its_schedule_does_not_allow_is_refused_with_the_schedule_to_use(
    tiny_config: Callable[..., ResolvedConfig], overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(*overrides)
