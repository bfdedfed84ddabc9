"""A killed and continued run equals a straight run, bit for bit; its events say where the weights came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.training.cases import (
    assert_same,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
    without_timings,
)
from vgim.config import ResolvedConfig, RunConfig
from vgim.runs.checkpoint import checkpoint_location
from vgim.runs.metrics import MetricsRecord
from vgim.training.loop import RankTrainer

Maker = Callable[..., ResolvedConfig]


class Killed(BaseException):
    """Stands for the signal that kills a process."""


class Mortal(RankTrainer):
    """A trainer that dies after it has written the record of step `dies_at`."""

    dies_at = 17

    def _log(self, record: MetricsRecord, *more: Any) -> None:
        super()._log(record, *more)
        if record["step"] == self.dies_at:
            raise Killed


def assert_same_runs(one: RunConfig, other: RunConfig) -> None:
    """Assert that two runs agree bit for bit in weights, BatchNorm's statistics, optimizer, state and metrics."""
    a, b = last_checkpoint(one), last_checkpoint(other)
    assert a.state.model_copy(update={"files": {}}) == b.state.model_copy(update={"files": {}})
    assert_same(a.weights(), b.weights())
    assert_same(a.optimizer(), b.optimizer())
    kinds = ("train", "validation")
    written, expected = (without_timings(records(run_location(config), *kinds)) for config in (one, other))
    assert written == expected


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(["objective.kld_warmup_steps=18"], id="sim with BatchNorm and warm-up"),
        pytest.param(
            [
                "data.crop=tile",
                "train.max_steps=40",
                "data.augment={noise_snr_db: 10, reverb_s: 0.2, pitch_semitones: 2}",
            ],
            id="tile, augmented",
        ),
        pytest.param(
            ["train.accumulate=2", "optim.clip_norm=0.5", "model.depth=2", "train.epochs=4"],
            id="accumulation",
        ),
        pytest.param(
            ["model.family=cpc", "objective.kld_weight=0", "optim.decay_per_epoch=0.5"], id="cpc with decay"
        ),
        pytest.param(["train.schedule=sequential", "train.epochs=1"], id="one module after the other"),
        pytest.param(["objective.target_rate=0.5", "objective.kld_warmup_steps=5"], id="target rate"),
    ],
)
def test_killed_run_equals_straight_run(tiny_config: Maker, settings: list[str]) -> None:
    every = ["train.checkpoint_every_steps=7", *settings]
    straight = tiny_config("storage.name=straight", *every).config
    killed = tiny_config("storage.name=killed", *every).config
    single_rank_trainer(straight).run()
    with pytest.raises(Killed):
        single_rank_trainer(killed, Mortal).run()
    progress = last_checkpoint(killed).state
    assert progress.step == 14  # in the middle of an epoch, and some steps before its death
    assert progress.step_in_epoch > 0
    assert records(run_location(killed), "train")[-1]["step"] == 17
    single_rank_trainer(killed).run()
    assert_same_runs(killed, straight)
    assert last_checkpoint(straight).state.step > 17


def test_a_run_killed_over_and_over_equals_a_straight_one(tiny_config: Maker) -> None:
    straight = tiny_config("storage.name=straight", "train.checkpoint_every_steps=3").config
    killed = tiny_config("storage.name=killed", "train.checkpoint_every_steps=3").config
    single_rank_trainer(straight).run()
    for step in (2, 4, 8, 11, 16):  # the first before any checkpoint
        rank = single_rank_trainer(killed, Mortal)
        assert isinstance(rank, Mortal)
        rank.dies_at = step
        with pytest.raises(Killed):
            rank.run()
    single_rank_trainer(killed).run()
    assert_same_runs(killed, straight)


def test_a_run_killed_at_the_end_of_an_epoch_continues_with_the_next(tiny_config: Maker) -> None:
    straight, killed = (tiny_config(f"storage.name={name}").config for name in ("straight", "killed"))
    single_rank_trainer(straight).run()

    rank = single_rank_trainer(killed, Mortal)
    assert isinstance(rank, Mortal)
    rank.dies_at = 11
    with pytest.raises(Killed):
        rank.run()
    progress = last_checkpoint(killed).state
    assert (progress.step, progress.epoch, progress.step_in_epoch) == (10, 1, 0)
    assert progress.validation_loss is not None
    single_rank_trainer(killed).run()
    assert_same_runs(killed, straight)


def test_a_run_whose_max_steps_was_raised_continues_as_if_it_had_never_stopped(tiny_config: Maker) -> None:
    straight = tiny_config("storage.name=straight", "train.max_steps=18").config
    single_rank_trainer(straight).run()
    for max_steps in (7, 12, 18):
        longer = tiny_config("storage.name=longer", f"train.max_steps={max_steps}").config
        assert single_rank_trainer(longer).run() == f"finished at step {max_steps}, epoch {max_steps // 10}"
    assert_same(last_checkpoint(longer).weights(), last_checkpoint(straight).weights())
    assert_same(last_checkpoint(longer).optimizer(), last_checkpoint(straight).optimizer())
    written, expected = (without_timings(records(run_location(c), "train")) for c in (longer, straight))
    for record in (*written, *expected):
        del record["last_step"]
    assert written == expected


def test_a_run_at_its_end_has_nothing_to_do(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=3").config
    single_rank_trainer(config).run()
    before = last_checkpoint(config)
    assert single_rank_trainer(config).run() == "finished at step 3, epoch 0"
    assert last_checkpoint(config) == before


def test_the_last_step_has_a_record_whatever_the_distance_of_records(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=7", "train.log_every_steps=5").config
    single_rank_trainer(config).run()
    assert [record["step"] for record in records(run_location(config), "train")] == [1, 5, 7]


def test_records_of_steps_that_are_taken_again_are_dropped(tiny_config: Maker) -> None:
    config = tiny_config("train.checkpoint_every_steps=7").config
    with pytest.raises(Killed):
        single_rank_trainer(config, Mortal).run()
    with (run_location(config).local_path / "metrics.jsonl").open("a") as out:
        out.write('{"kind": "train", "step": 1')  # the line that a killed process left
    single_rank_trainer(config).run()
    assert [r["step"] for r in records(run_location(config), "train")] == list(range(1, 21))
    events = [r["message"] for r in records(run_location(config), "event")]
    assert events[0] == "weights drawn afresh from seed 0"
    assert events[-1].startswith("continuing from this run's checkpoint")
    assert "step 14, epoch 1, 4 steps into it" in events[-1]


def test_damaged_records_are_dropped_and_counted_when_the_run_continues(tiny_config: Maker) -> None:
    straight = tiny_config("storage.name=straight").config
    single_rank_trainer(straight).run()
    config = tiny_config("train.checkpoint_every_steps=7").config
    with pytest.raises(Killed):
        single_rank_trainer(config, Mortal).run()
    path = run_location(config).local_path / "metrics.jsonl"
    first, *others = path.read_bytes().splitlines(keepends=True)
    foreign = b'{"kind": "train", "step": "seven"}\n[]\n\xff\xfe\n'
    path.write_bytes(first + foreign + b"".join(others) + b'{"kind": "train", "st')
    single_rank_trainer(config).run()
    assert [r["step"] for r in records(run_location(config), "train")] == list(range(1, 21))
    dropped = [r for r in records(run_location(config), "event") if "had to be dropped" in r["message"]]
    assert [(r["step"], r["message"]) for r in dropped] == [
        (14, "3 lines of metrics.jsonl could not be read and had to be dropped")
    ]
    ours, theirs = (last_checkpoint(each).state.files["weights.safetensors"] for each in (config, straight))
    assert ours == theirs


@pytest.mark.parametrize("name", ["optimizer.safetensors", "state.json"])
def test_a_run_goes_on_from_before_a_damaged_checkpoint_to_the_weights_of_a_straight_run(
    tiny_config: Maker, name: str
) -> None:
    every = ("train.checkpoint_every_steps=3", "train.epochs=1", "train.limit_validation_batches=1")
    straight, damaged = (tiny_config(f"storage.name={n}", *every).config for n in ("straight", "damaged"))
    single_rank_trainer(straight).run()
    rank = single_rank_trainer(damaged, Mortal)
    assert isinstance(rank, Mortal)
    rank.dies_at = 8
    with pytest.raises(Killed):
        rank.run()
    path = checkpoint_location(run_location(damaged), 6).child(name).local_path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    single_rank_trainer(damaged).run()
    assert_same_runs(damaged, straight)
    told = [r["message"] for r in records(run_location(damaged), "event")]
    warning, start = told[-2:]
    assert warning.startswith(f"warning: {path} is damaged: ")
    assert "; 3 steps after step 3 will be trained again; the damaged checkpoint is kept as " in warning
    assert "step-00000003 (step 3, epoch 0, 3 steps into it)" in start
    assert checkpoint_location(run_location(damaged), 6).parent.child("damaged-step-00000006").exists()
