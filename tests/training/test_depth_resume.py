"""A deeper run that continues a finished shallower run equals a run that trained all modules, bit for bit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.cases import (
    assert_same,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
    without_timings,
)
from vgim.config import ResolvedConfig
from vgim.errors import CheckpointError
from vgim.runs.metrics import inherited_steps
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]

SEQUENTIAL = ("train.schedule=sequential", "train.max_steps=12", "train.epochs=2")  # ends inside an epoch


@pytest.mark.parametrize("steps", ["3", "[12,5,2,3]"])
def test_runs_that_continue_each_other_depth_by_depth_equal_the_deepest_run(
    tiny_config: Maker, steps: str
) -> None:
    own = (*SEQUENTIAL, f"objective.prediction_steps={steps}")
    whole = tiny_config(*own, "storage.name=whole").config
    single_rank_trainer(whole).run()
    before = None
    for depth in (1, 2, 4):
        resolved = tiny_config(*own, f"model.depth={depth}", f"storage.name=depth{depth}")
        assert train(resolved, resume_from=before) == 0
        before = run_location(resolved.config).uri
        found = last_checkpoint(resolved.config)
        modules = tuple(f"greedy.{m}." for m in range(depth))
        assert len(found.weights()) > 0
        expected = last_checkpoint(whole).weights()
        assert_same(found.weights(), {k: v for k, v in expected.items() if k.startswith(modules)})
        assert found.state.step == 12 * depth
    assert_same(found.optimizer(), last_checkpoint(whole).optimizer())
    kinds = ("train", "validation")
    assert without_timings(records(run_location(resolved.config), *kinds)) == without_timings(
        records(run_location(whole), *kinds)
    )


@pytest.mark.parametrize(
    "shallow",
    [("model.gru_units=0",), ("model.depth=3", "model.gru_units=4"), ("model.depth=3",)],
    ids=["no GRU", "another GRU left out", "a GRU of one direction left out"],
)
def test_a_run_without_its_gru_is_continued_with_any_gru(
    tiny_config: Maker, shallow: tuple[str, ...]
) -> None:
    whole = tiny_config(*SEQUENTIAL, "model.gru_bidirectional=true", "storage.name=whole")
    train(whole)
    lower = tiny_config(*SEQUENTIAL, *shallow, "storage.name=lower")
    train(lower)
    deep = tiny_config(*SEQUENTIAL, "model.gru_bidirectional=true", "storage.name=deep")
    train(deep, resume_from=run_location(lower.config).uri)
    found, expected = last_checkpoint(deep.config), last_checkpoint(whole.config)
    assert found.state.step == 4 * 12
    assert_same(found.weights(), expected.weights())
    assert_same(found.optimizer(), expected.optimizer())


def test_a_shallower_run_with_other_tensors_is_refused_by_their_names(tiny_config: Maker) -> None:
    shallow = tiny_config(*SEQUENTIAL, "model.depth=1", "train.max_steps=1", "storage.name=shallow")
    train(shallow)
    deep = tiny_config(
        *SEQUENTIAL, "objective.prediction_steps=[2,3,3,3]", "model.depth=2", "storage.name=deep"
    )
    expected = (
        r"other tensors than this run: greedy\.0\.nce\.weight 3x8x8 where this run has 2x8x8, "
        r"whose first size is objective\.prediction_steps of the module"
    )
    with pytest.raises(CheckpointError, match=expected):
        train(deep, resume_from=run_location(shallow.config).uri)


@pytest.mark.parametrize("key", ["batch_norm", "posterior_norm"])
def test_a_shallower_run_whose_statistics_are_of_each_rank_goes_on_with_those_alone(
    tiny_config: Maker, key: str
) -> None:
    own = (*SEQUENTIAL, "model.family=sim", "train.max_steps=1")
    shallow = tiny_config(*own, f"model.{key}=local", "model.depth=1", "storage.name=shallow")
    train(shallow)
    deep = tiny_config(*own, f"model.{key}=sync", "model.depth=2", "storage.name=deep")
    with pytest.raises(CheckpointError, match=f"model.{key}"):
        train(deep, resume_from=run_location(shallow.config).uri)


def test_a_deeper_run_copies_the_shallower_runs_records_and_says_where_it_started(tiny_config: Maker) -> None:
    shallow = tiny_config(*SEQUENTIAL, "model.depth=1", "storage.name=shallow")
    deep = tiny_config(*SEQUENTIAL, "model.depth=2", "storage.name=deep")
    train(shallow)
    train(deep, resume_from=run_location(shallow.config).uri)
    events = records(run_location(deep.config), "event")
    assert inherited_steps(events) == 12
    messages = [record["message"] for record in events]
    assert any(
        f"continuing from the checkpoint {run_location(shallow.config).uri}/checkpoints" in m
        for m in messages
    )
    assert "it holds modules 0 to 0; the modules behind them are drawn afresh" in messages
    reader = EventAccumulator(
        str(run_location(deep.config).local_path / "tensorboard"), size_guidance={"scalars": 0}
    )
    reader.Reload()
    assert [event.step for event in reader.Scalars("train/module0/nce")] == list(range(1, 13))
    assert [event.step for event in reader.Scalars("train/module1/nce")] == list(range(13, 25))
    assert "_hparams_/session_start_info" in reader.summary_metadata


def test_a_deeper_run_that_was_interrupted_early_has_every_record_once(tiny_config: Maker) -> None:
    shallow = tiny_config(*SEQUENTIAL, "model.depth=1", "storage.name=shallow")
    train(shallow)
    deep = tiny_config(*SEQUENTIAL, "model.depth=2", "storage.name=deep").config
    source = run_location(shallow.config).uri
    rank = single_rank_trainer(deep, resume_from=source)
    rank._train = lambda phase, progress: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        rank.run()
    single_rank_trainer(deep, resume_from=source).run()
    assert [r["step"] for r in records(run_location(deep), "train")] == list(range(1, 25))


@pytest.mark.parametrize(
    "written",
    [
        {"message": "it holds modules 0 to 0", "inherited_steps": 12},
        {"message": "it has modules 0 to 0; those behind are drawn afresh"},
    ],
    ids=["a key", "the sentence of 0.1"],
)
def test_steps_of_a_shallower_run_are_read_from_the_event_of_the_deeper_one(
    written: dict[str, object],
) -> None:
    event = {"kind": "event", "step": 12, **written}
    first = {"kind": "event", "step": 0, "message": "weights drawn afresh from seed 0"}
    assert inherited_steps([first]) == 0
    assert inherited_steps([first, event, {"kind": "train", "step": 13}]) == 12


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (("train.schedule=joint",), "model.depth=1 there, 2 here"),
        (("train.schedule=sequential", "model.channels=4"), "model.channels=8 there, 4 here"),
        (("train.schedule=sequential", "model.batch_norm=none"), "model.batch_norm=local there, none here"),
        (
            ("train.schedule=sequential", "model.posterior_norm=local"),
            "model.posterior_norm=none there, local here",
        ),
        (
            ("train.schedule=joint", "model.posterior_norm=local"),
            "model.depth=1 there, 2 here; model.posterior_norm=none there, local here",
        ),
    ],
)
def test_only_a_sequential_run_with_the_same_modules_may_continue_a_shallower_one(
    tiny_config: Maker, setting: tuple[str, ...], named: str
) -> None:
    shallow = tiny_config(*SEQUENTIAL, "model.depth=1", "train.max_steps=1", "storage.name=shallow")
    train(shallow)
    deep = tiny_config(*setting, "model.depth=2", "storage.name=deep")
    with pytest.raises(CheckpointError, match=rf"architecture \({named}\)"):
        train(deep, resume_from=run_location(shallow.config).uri)
