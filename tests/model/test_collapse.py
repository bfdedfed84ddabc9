"""The collapse watch warns once of a collapse and once of the recovery."""

from __future__ import annotations

import math

from vgim.model.collapse import CollapseWatch

CHANCE = math.log(11)


def test_a_collapse_is_warned_of_once_after_the_patience_and_so_is_the_recovery() -> None:
    watch = CollapseWatch(modules=(0, 1), chance=CHANCE, patience_steps=20)
    warnings = {}
    for step in range(0, 100, 10):
        collapsed = 20 <= step < 70
        warnings[step] = watch.update(
            step, [CHANCE if collapsed else 1.0, 1.0], [0.0 if collapsed else 0.9, 0.9]
        )
        assert watch.collapsed == ([0] if 40 <= step < 70 else [])
    assert {step: [(w.module, w.collapsed) for w in new] for step, new in warnings.items() if new} == {
        40: [(0, True)],
        70: [(0, False)],
    }
    message = warnings[40][0].message
    assert "module 0 has collapsed: since step 20 (now 40)" in message
    assert "objective.kld_weight" in message


def test_chance_alone_and_few_active_units_alone_are_no_collapse() -> None:
    watch = CollapseWatch(modules=(0, 1), chance=CHANCE, patience_steps=1)
    assert not any(watch.update(step, [CHANCE, 0.5], [0.2, 0.0]) for step in range(50))


def test_a_single_good_measurement_restarts_the_count() -> None:
    watch = CollapseWatch(modules=(0,), chance=CHANCE, patience_steps=20)
    for step, active in ((0, 0.0), (10, 0.0), (15, 0.5), (20, 0.0), (35, 0.0)):
        assert watch.update(step, [CHANCE], [active]) == []
    assert len(watch.update(40, [CHANCE], [0.0])) == 1


def test_the_warm_up_does_not_count() -> None:
    watch = CollapseWatch(modules=(0,), chance=CHANCE, patience_steps=20, start_step=100)
    for step in range(0, 120, 10):
        assert watch.update(step, [CHANCE], [0.0]) == []
    assert len(watch.update(120, [CHANCE], [0.0])) == 1


def test_a_loss_that_is_not_a_number_is_not_taken_for_chance() -> None:
    watch = CollapseWatch(modules=(0,), chance=CHANCE, patience_steps=1)
    assert not any(watch.update(step, [math.nan], [0.0]) for step in range(10))
