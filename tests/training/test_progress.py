"""Progress of a run through the phases of its schedule: steps, epochs, early stopping."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from tests.training.cases import (
    assert_same,
    differ,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
)
from vgim.config import ResolvedConfig
from vgim.training.progress import Progress, how_to_go_on, phases, remaining

Maker = Callable[..., ResolvedConfig]


def test_progress_keeps_the_lowest_loss_and_counts_the_validations_since() -> None:
    progress = Progress()
    for loss in (3.0, 2.0, 2.0, 2.5):
        progress = progress.after_validation(loss)
    assert (progress.validation_loss, progress.best_loss, progress.stale_validations) == (2.5, 2.0, 2)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_is_never_the_best(loss: float) -> None:
    assert Progress().after_validation(loss).best_loss is None
    progress = Progress().after_validation(2.0).after_validation(loss)
    assert (progress.validation_loss, progress.best_loss, progress.stale_validations) == (None, 2.0, 1)
    assert progress.after_validation(1.0).best_loss == 1.0


def test_a_joint_run_has_one_phase_and_a_sequential_run_one_per_module(tiny_config: Maker) -> None:
    joint = phases(tiny_config().config)
    assert [(p.modules, p.epochs) for p in joint] == [((0, 1, 2, 3), 2)]
    each = phases(tiny_config("train.schedule=sequential").config)
    assert [(p.modules, p.epochs) for p in each] == [((m,), 2) for m in range(4)]
    own = tiny_config("train.schedule=sequential", "train.module_epochs=[1, 2, 3, 1]").config
    assert [p.epochs for p in phases(own)] == [1, 2, 3, 1]


def test_a_finished_run_has_no_phase_left_until_its_epochs_are_raised(tiny_config: Maker) -> None:
    progress = Progress(step=20, epoch=2, phase_step=20, phase_epoch=2)
    assert remaining(progress, tiny_config().config) == []
    assert len(remaining(progress, tiny_config("train.epochs=3").config)) == 1
    assert remaining(progress, tiny_config("train.epochs=3", "train.max_steps=20").config) == []


def test_what_ended_a_run_is_to_be_raised(tiny_config: Maker) -> None:
    progress = Progress(step=20, epoch=2, phase_step=20, phase_epoch=2, stale_validations=1)
    assert how_to_go_on(progress, tiny_config().config) == "raise train.epochs"
    both = tiny_config("train.max_steps=20").config
    assert how_to_go_on(progress, both) == "raise train.epochs and train.max_steps"
    early = tiny_config("train.epochs=9", "train.early_stop_validations=1").config
    assert how_to_go_on(progress, early) == "raise train.early_stop_validations"
    own = tiny_config("train.schedule=sequential", "train.module_epochs=[2, 3, 3, 3]").config
    assert how_to_go_on(progress, own) == "raise train.module_epochs"


def test_a_phase_that_is_continued_is_told_with_the_step_at_which_it_began(tiny_config: Maker) -> None:
    for steps in (2, 3):
        config = tiny_config("train.schedule=sequential", "model.depth=2", f"train.max_steps={steps}").config
        single_rank_trainer(config).run()
    events = [(r["step"], r["message"]) for r in records(run_location(config), "event")]
    told = [(step, message) for step, message in events if "trains from" in message]
    assert told == [
        (0, "module 0 trains from step 0 on"),
        (2, "module 1 trains from step 2 on"),
        (4, "module 1 trains from step 2 on"),
    ]


def test_under_sequential_each_module_trains_alone_on_frozen_modules(tiny_config: Maker) -> None:
    config = tiny_config(
        "train.schedule=sequential", "train.max_steps=3", "train.keep_last=9", "model.depth=3"
    ).config
    assert single_rank_trainer(config).run().startswith("finished at step 9")
    written = records(run_location(config), "train")
    assert [[m["module"] for m in r["modules"]] for r in written] == [[0]] * 3 + [[1]] * 3 + [[2]] * 3
    warm_up = [0.0, 0.001 / 8, 0.002 / 8]  # of every module
    assert [r["kld_weight"] for r in written] == pytest.approx(warm_up * 3)
    from vgim.runs.checkpoint import complete_checkpoints

    saved = [c.weights() for c in complete_checkpoints(run_location(config))]
    assert len(saved) == 3

    def part(weights: dict[str, Any], m: int) -> dict[str, Any]:
        return {name: tensor for name, tensor in weights.items() if name.startswith(f"greedy.{m}.")}

    for after in (1, 2):
        for m in range(3):
            if m == after:
                assert differ(part(saved[after - 1], m), part(saved[after], m))
            else:  # BatchNorm's statistics included
                assert_same(part(saved[after - 1], m), part(saved[after], m))


def test_a_run_stops_early_when_its_validation_loss_no_longer_falls(
    tiny_config: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vgim.training import greedy
    from vgim.training.validate import Validation

    losses = iter([3.0, 2.0, 2.5, 2.1, 1.0])

    def scripted(*_: Any, **__: Any) -> Validation:
        loss = next(losses)
        return Validation([{"module": 0, "loss": loss, "nce": loss}], 4)

    monkeypatch.setattr(greedy, "validate", scripted)
    config = tiny_config("train.epochs=9", "train.early_stop_validations=2").config
    assert single_rank_trainer(config).run() == "finished at step 40, epoch 4"
    state = last_checkpoint(config).state
    assert (state.best_loss, state.validation_loss, state.stale_validations) == (2.0, 2.1, 2)
    assert remaining(Progress(40, 4, 0, 0, 40, 4, 2.1, 2.0, 2), config) == []
