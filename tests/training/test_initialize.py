"""Where a run's first weights come from, and what a run with another batch or other data continues with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.cases import (
    adam,
    assert_same,
    copied_weights,
    differ,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
    small_encoder,
)
from vgim.config import ResolvedConfig, RunConfig
from vgim.errors import CheckpointError, ConfigError
from vgim.model.rank_group import RankGroup
from vgim.runs.checkpoint import checkpoint_location, complete_checkpoints
from vgim.storage import Location
from vgim.training.initialize import initialize
from vgim.training.progress import Progress
from vgim.training.trainer import train

Maker = Callable[..., ResolvedConfig]


def finished(tiny_config: Maker, name: str, *more: str) -> RunConfig:
    config: RunConfig = tiny_config(f"storage.name={name}", "train.max_steps=2", *more).config
    single_rank_trainer(config).run()
    return config


def start(
    config: RunConfig, *, world_size: int = 1, **options: Any
) -> tuple[Progress, list[str], dict[str, torch.Tensor]]:
    """Progress, messages and weights with which a run of a config would start."""
    rank = single_rank_trainer(config)
    progress, log = initialize(
        run_location(config),
        rank.learner.network,
        rank.learner.optimizer,
        config,
        **{
            "world_size": world_size,
            "data_fingerprint": rank.manifest.fingerprint,
            "resume_from": None,
            "init_from": None,
            **options,
        },
    )
    return progress, [event.message for event in log], copied_weights(rank.learner.network)


def test_weights_come_from_own_checkpoint_else_resume_from_else_init_from_else_the_seed(
    tiny_config: Maker,
) -> None:
    uri = {
        n: run_location(finished(tiny_config, n, f"train.seed={s}")).uri
        for s, n in enumerate(("own", "older", "other"))
    }
    weights = {name: complete_checkpoints(Location(progress))[-1].weights() for name, progress in uri.items()}
    own, new = (tiny_config(f"storage.name={name}").config for name in ("own", "new"))

    progress, log, found = start(own, resume_from=uri["older"], init_from=uri["other"])
    assert log[0].startswith(f"continuing from this run's checkpoint {uri['own']}/checkpoints/step-00000002")
    assert progress.step == 2
    assert_same(found, weights["own"])

    progress, log, found = start(new, resume_from=uri["older"], init_from=uri["other"])
    assert log[0].startswith(f"continuing from the checkpoint {uri['older']}/checkpoints/step-00000002")
    assert (progress.step, progress.step_in_epoch) == (2, 2)
    assert_same(found, weights["older"])

    progress, log, found = start(new, init_from=uri["other"])
    assert log == [f"weights from {uri['other']}/checkpoints/step-00000002; optimizer and steps start afresh"]
    assert progress == Progress()
    assert_same(found, weights["other"])

    progress, log, found = start(new)
    assert log == ["weights drawn afresh from seed 0"]
    assert progress == Progress()
    assert all(differ(found, others) for others in weights.values())


def test_resume_from_loads_the_optimizer_and_init_from_does_not(tiny_config: Maker) -> None:
    source = finished(tiny_config, "source")
    rank = single_rank_trainer(tiny_config("storage.name=new").config)
    options: dict[str, Any] = {"world_size": 1, "data_fingerprint": rank.manifest.fingerprint}
    where = (run_location(rank.config), rank.learner.network, rank.learner.optimizer, rank.config)
    initialize(*where, **options, resume_from=None, init_from=run_location(source).uri)
    assert not rank.learner.optimizer.state_dict()["state"]
    initialize(*where, **options, resume_from=run_location(source).uri, init_from=None)
    assert rank.learner.optimizer.state_dict()["state"]


def test_another_batch_is_reported_and_the_position_in_the_epoch_kept(tiny_config: Maker) -> None:
    config = tiny_config("storage.name=own", "train.max_steps=6").config
    single_rank_trainer(config).run()
    progress, log, _ = start(config, world_size=3)
    position = (progress.step, progress.epoch, progress.step_in_epoch)
    assert position == (6, 0, 2)  # 24 crops are trained, 12 per step
    assert log[1] == (
        "the batch was 1 workers x 4 x 1 = 4 crops and is now 12 over 3: the weights will differ from those of an "
        "uninterrupted run, and epoch 0 goes on at step 2"
    )
    same_batch = config.model_copy(update={"train": config.train.model_copy(update={"batch_size": 2})})
    progress, log, _ = start(same_batch, world_size=2)
    assert progress.step_in_epoch == 6
    assert "is now 4 over 2: the weights will differ" in log[1]
    assert len(start(config)[1]) == 1  # nothing changed, so nothing else is reported


def test_a_changed_batch_trains_on_to_the_end(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=6").config
    single_rank_trainer(config).run()
    larger = tiny_config("train.batch_size=10", "train.epochs=1").config
    # 24 of 40 crops are trained: step 2 of 4.
    assert single_rank_trainer(larger).run() == "finished at step 8, epoch 1"


def test_a_position_past_the_end_of_a_shorter_epoch_still_trains(tiny_config: Maker) -> None:
    config = tiny_config("train.max_steps=9").config
    single_rank_trainer(config).run()
    larger = tiny_config(
        "train.batch_size=13", "train.epochs=2"
    ).config  # 36 crops taken, 3 steps of 13 an epoch
    assert single_rank_trainer(larger).run() == "finished at step 13, epoch 2"


def test_a_larger_batch_that_leaves_no_step_in_the_epoch_continues_with_the_next_epoch(
    tiny_config: Maker,
) -> None:
    config = tiny_config("train.max_steps=9").config
    single_rank_trainer(config).run()
    larger = tiny_config("train.batch_size=12", "train.epochs=2").config  # 36 crops taken: 3 steps of 3
    assert single_rank_trainer(larger).run() == "finished at step 12, epoch 2"


def test_other_data_is_refused_for_an_own_checkpoint_and_restarts_the_epoch_of_another_runs(
    tiny_config: Maker,
) -> None:
    own = finished(tiny_config, "own")
    with pytest.raises(
        CheckpointError, match=r"was trained on data [0-9a-f]{12}, these shards are dddddddddddd"
    ):
        start(own, data_fingerprint="d" * 64)
    new = tiny_config("storage.name=new").config
    progress, log, _ = start(new, data_fingerprint="d" * 64, resume_from=run_location(own).uri)
    assert (progress.step, progress.epoch, progress.step_in_epoch) == (2, 0, 0)
    assert log[1].startswith("other data than before")


class SavingRank(RankGroup):
    """The rank that saves, among two."""

    def all_reduce_sum(self, tensor: torch.Tensor) -> None:
        SENT.append(tensor.clone())


class OtherRank(RankGroup):
    """The other one, which receives what was sent, in its order."""

    def all_reduce_sum(self, tensor: torch.Tensor) -> None:
        tensor += SENT.pop(0)


SENT: list[torch.Tensor] = []


def test_all_ranks_go_on_from_the_checkpoint_that_the_saving_rank_has_found(tiny_config: Maker) -> None:
    config = tiny_config("train.checkpoint_every_steps=2", "train.max_steps=4").config
    single_rank_trainer(config).run()
    path = checkpoint_location(run_location(config), 4).child("optimizer.safetensors").local_path
    path.write_bytes(path.read_bytes()[:-1])
    found = [start(config, group=group)[0].step for group in (SavingRank(0, 2), OtherRank(1, 2))]
    assert found == [2, 2]
    (run_location(config).local_path / "checkpoints/step-00000002/weights.safetensors").write_bytes(b"")
    told = []
    for group in (SavingRank(0, 2), OtherRank(1, 2)):
        with pytest.raises(CheckpointError, match=r"has no whole checkpoint left") as e:
            start(config, group=group)
        told.append(str(e.value))
    assert told[0] == told[1]
    assert not SENT


@pytest.mark.parametrize("option", ["resume_from", "init_from"])
def test_all_ranks_start_from_the_same_checkpoint_of_a_run_that_trains_on(
    tiny_config: Maker, option: str
) -> None:
    source = finished(tiny_config, "source", "train.checkpoint_every_steps=1")
    new, uri = tiny_config("storage.name=new").config, run_location(source).uri
    _, log, weights = start(new, group=SavingRank(0, 2), **{option: uri})
    single_rank_trainer(
        tiny_config("storage.name=source", "train.max_steps=3", "train.checkpoint_every_steps=1").config
    ).run()
    _, other_log, other_weights = start(new, group=OtherRank(1, 2), **{option: uri})
    assert "step-00000002" in log[0]
    assert other_log == log
    assert_same(other_weights, weights)
    assert not SENT


@pytest.mark.parametrize("kind", ["missing", "damaged"])
def test_a_checkpoint_to_start_from_is_checked_before_anything_starts(tiny_config: Maker, kind: str) -> None:
    source = run_location(finished(tiny_config, "source", "train.checkpoint_every_steps=1"))
    path = checkpoint_location(source, 2).child("weights.safetensors").local_path
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    if kind == "missing":
        path.unlink()
    resolved = tiny_config("storage.name=new")
    for option in ("resume_from", "init_from"):
        for where in (source, checkpoint_location(source, 2)):
            with pytest.raises(
                CheckpointError, match=rf"weights\.safetensors is {kind}.*use .*step-00000001, "
            ):
                train(resolved, **{option: where.uri})
    assert not run_location(resolved.config).exists()


@pytest.mark.parametrize(
    ("theirs", "ours", "fix"),
    [
        ((), (), "train.schedule=joint: raise train.max_steps, or load"),
        (
            ("train.schedule=sequential",),
            ("train.max_steps=9",),
            "train.schedule=joint: use train.schedule=sequential, as its run did, or load",
        ),
    ],
    ids=["the end", "a later phase than there are"],
)
def test_a_checkpoint_that_leaves_no_step_is_refused_before_anything_starts(
    tiny_config: Maker, theirs: tuple[str, ...], ours: tuple[str, ...], fix: str
) -> None:
    source = run_location(finished(tiny_config, "source", *theirs)).uri
    resolved = tiny_config("storage.name=new", "train.max_steps=2", *ours)
    with pytest.raises(ConfigError, match=f"leaves nothing to train under {fix} its weights alone"):
        train(resolved, resume_from=source)
    assert not run_location(resolved.config).exists()


@pytest.mark.parametrize("option", ["resume_from", "init_from"])
def test_the_same_command_continues_a_run_whose_source_is_gone(tiny_config: Maker, option: str) -> None:
    source = run_location(finished(tiny_config, "source"))
    for steps in (4, 6):
        resolved = tiny_config("storage.name=new", f"train.max_steps={steps}")
        assert train(resolved, **{option: source.uri}) == 0
        if steps == 4:
            shutil.rmtree(source.local_path)
    assert last_checkpoint(resolved.config).state.step == 6


def test_a_checkpoint_with_other_channels_is_refused(tiny_config: Maker) -> None:
    source = finished(tiny_config, "source")
    wider = tiny_config("storage.name=wider", "model.channels=16").config
    for option in ("resume_from", "init_from"):
        with pytest.raises(CheckpointError, match=r"model\.channels=8 there, 16 here"):
            start(wider, **{option: run_location(source).uri})


def test_weights_that_learned_on_audio_normalized_in_another_way_are_told(tiny_config: Maker) -> None:
    source = run_location(finished(tiny_config, "source", "data.normalize=none")).uri
    same, other = (
        tiny_config(f"storage.name={mode}", f"data.normalize={mode}").config for mode in ("none", "utterance")
    )
    told = "the weights learned with data.normalize=none, and this run has data.normalize=utterance"
    assert start(other, init_from=source)[1][-1] == told
    assert told not in start(same, init_from=source)[1]


def test_settings_that_differ_from_those_of_a_run_that_is_continued_are_told_in_one_line(
    tiny_config: Maker,
) -> None:
    source = run_location(finished(tiny_config, "source")).uri
    longer = ("train.max_steps=9", "train.epochs=7", "train.checkpoint_every_steps=1", "cluster.workers=0")
    same = tiny_config("storage.name=longer", *longer).config
    assert start(same, resume_from=source)[1][1:] == []
    changes = (
        "objective.kld_weight=0.25",
        "data.normalize=utterance",
        "optim.learning_rate=0.5",
        "train.seed=9",
    )
    other = tiny_config("storage.name=other", *longer, *changes).config
    assert start(other, resume_from=source)[1][1:] == [
        f"other settings than that run had: data.normalize: {same.data.normalize} → utterance; objective.kld_weight: "
        f"{same.objective.kld_weight:g} → 0.25; optim.learning_rate: {same.optim.learning_rate:g} → 0.5; "
        "train.seed: 0 → 9"
    ]


@pytest.mark.parametrize(
    ("change", "is_same_loss"),
    [("optim.learning_rate=0.5", True), ("objective.kld_weight=0.25", False), ("train.seed=9", False)],
)
def test_validations_count_anew_behind_a_run_whose_losses_do_not_compare(
    tiny_config: Maker, change: str, is_same_loss: bool
) -> None:
    state = last_checkpoint(finished(tiny_config, "source")).state
    losses = (state.validation_loss, state.best_loss)
    assert None not in losses
    config = tiny_config("storage.name=new", change).config
    progress, _, _ = start(config, resume_from=run_location(tiny_config("storage.name=source").config).uri)
    assert (progress.validation_loss, progress.best_loss) == (losses if is_same_loss else (None, None))


def test_a_run_behind_another_has_its_own_hyperparameters_and_warnings(tiny_config: Maker) -> None:
    source = run_location(finished(tiny_config, "source")).uri
    config = tiny_config("storage.name=new", "train.max_steps=3", "objective.kld_weight=0.25").config
    for _ in range(2):  # the second launch continues the run
        single_rank_trainer(config, resume_from=source).run()
        config = tiny_config("storage.name=new", "train.max_steps=4", "objective.kld_weight=0.25").config
    said = [record["message"] for record in records(run_location(config), "event")]
    assert len([text for text in said if text.startswith("warning: objective.kld_weight=0.25 makes")]) == 1
    board = EventAccumulator(str(run_location(config).local_path / "tensorboard"))
    board.Reload()
    assert "_hparams_/session_start_info" in board.summary_metadata


def test_a_deeper_run_tells_no_other_settings_than_those_that_its_modules_share(tiny_config: Maker) -> None:
    source = run_location(finished(tiny_config, "one", "train.schedule=sequential", "model.depth=1")).uri
    deeper = ("train.schedule=sequential", "model.depth=2")
    assert len(start(tiny_config(*deeper).config, resume_from=source)[1]) == 2  # whence, and which modules
    told = start(tiny_config(*deeper, "objective.num_negatives=3").config, resume_from=source)[1]
    assert told[-1] == "other settings than that run had: objective.num_negatives: 5 → 3"


def test_loading_into_the_small_encoder_of_the_tests_is_strict(tiny_config: Maker) -> None:
    from vgim.runs.weights import load_optimizer

    source = last_checkpoint(finished(tiny_config, "source"))
    shallow = small_encoder(depth=1)
    with pytest.raises(CheckpointError, match=r"holds state of unknown parameters \(greedy\.1"):
        load_optimizer(source, shallow, adam(shallow))


def test_a_checkpoint_that_was_never_finished_is_ignored(tiny_config: Maker) -> None:
    config = tiny_config("train.checkpoint_every_steps=3", "train.max_steps=6").config
    single_rank_trainer(config).run()
    location = checkpoint_location(run_location(config), 6)
    location.child("state.json").delete()
    location.parent.child("index.json").delete()  # as before the checkpoint was finished
    progress, log, _ = start(config)
    assert progress.step == 3
    assert "step-00000003" in log[0]
