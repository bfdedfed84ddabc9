"""Ranks over gloo, without Ray: the deferred all-reduce, averaged statistics, whole runs, groups of a world."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tests.gloo_world import leave_world
from tests.training.cases import (
    adam,
    assert_same,
    audio,
    copied_weights,
    data_parallel_modules,
    greedy_step,
    last_checkpoint,
    records,
    run_location,
    single_rank_trainer,
    small_encoder,
    without_timings,
)
from vgim.config import ResolvedConfig, RunConfig
from vgim.data.stream.readers import read_in_process
from vgim.data.stream.stream import Batch
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import RankGroup
from vgim.model.stack import Encoder
from vgim.runs.weights import OF_RANKS
from vgim.training import agreement
from vgim.training.ddp import average_buffers
from vgim.training.errors import NotFiniteError
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.prefetch import DeviceBatch
from vgim.training.share import Share

RANKS, CROPS, STEPS, MICRO_BATCHES, KLD_WEIGHT = 2, 3, 4, 2, 0.01
PAIRS = ("first pair", "second pair")
Results = dict[str, Any]


def micro_batches(rank: int, step: int) -> list[Tensor]:
    return [audio(CROPS, seed=100 * rank + 10 * step + n) for n in range(MICRO_BATCHES)]


def gradient_step(
    modules: list[nn.Module], encoder: Encoder, rank: int, step: int, loss_scale: float
) -> None:
    """Forward and backward of one rank's micro-batches without `GreedyStep`; gradients add up in the parameters."""
    for number, batch in enumerate(micro_batches(rank, step)):
        x = batch
        key = DrawKey(seed=3, step=step, rank=rank, micro_batch=number)
        for m, module in enumerate(modules):
            out = module(x, encoder.module(m).draw(x, key), KLD_WEIGHT, False)
            (out.loss * loss_scale).backward()
            x = out.latents


def train_by_step(group: RankGroup, **model: Any) -> Encoder:
    encoder = small_encoder(**model)
    step_modules = greedy_step(encoder, adam(encoder), group=group)
    for step in range(STEPS):
        step_modules(micro_batches(group.rank, step), step, KLD_WEIGHT, measure=False)
    return encoder


def train_by_plain_ddp(rank: int, **model: Any) -> Encoder:
    encoder = small_encoder(**model)
    optimizer = adam(encoder)
    wrapped = [
        DistributedDataParallel(encoder.module(m), broadcast_buffers=False) for m in range(len(encoder))
    ]
    for step in range(STEPS):
        # No `no_sync`: plain DDP reduces each micro-batch's gradient, which adds up to the same.
        gradient_step(list(wrapped), encoder, rank, step, 1 / MICRO_BATCHES)
        optimizer.step()
        optimizer.zero_grad()
    return encoder


def join_world(rank: int, world_size: int, folder: str) -> RankGroup:
    """Join a gloo world through a file in `folder`; a collective that a rank does not join ends with an error."""
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", meet, timedelta(minutes=10), rank=rank, world_size=world_size)
    return RankGroup.of_world()


def one_rank(rank: int, folder: str, configs: dict[str, RunConfig]) -> None:
    group = join_world(rank, RANKS, folder)
    results: Results = {
        "step": copied_weights(train_by_step(group, batch_norm="none")),
        "plain": copied_weights(train_by_plain_ddp(rank, batch_norm="none")),
    }
    normed = train_by_step(group, batch_norm="local")
    results["buffers before"] = copied_weights(normed)
    average_buffers(normed, Share.of_each(group))
    results["buffers after"] = copied_weights(normed)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        data_parallel = data_parallel_modules(small_encoder(), group)
    results["warnings"] = [str(warning.message) for warning in warned]
    results["wrapped"] = all(isinstance(m, DistributedDataParallel) for m in data_parallel.modules.values())
    for name, config in configs.items():
        kind = Poisoned if name == "poisoned" else RankTrainer
        results[name] = run_stopped_once(config, group) if name == "stopped" else run(kind, config, group)
    torch.save(results, f"{folder}/rank{rank}.pt")
    leave_world()


def one_of_four_ranks(rank: int, folder: str, configs: dict[str, RunConfig]) -> None:
    """A rank of a world of four, in which each half trains a run of its own."""
    group = join_world(rank, 4, folder).split([(0, 1), (2, 3)])
    torch.save(run(RankTrainer, configs[PAIRS[rank // 2]], group), f"{folder}/rank{rank}.pt")
    leave_world()


class Poisoned(RankTrainer):
    """A trainer whose rank 1 reads audio that is not finite in the third step."""

    num_batches = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        good = self.batches.audio

        def audio(batch: DeviceBatch) -> Tensor:
            self.num_batches += 1
            is_bad = self.worker.group.rank == 1 and self.num_batches == 3
            return good(batch) * float("nan") if is_bad else good(batch)

        self.batches.audio = audio  # type: ignore[method-assign]


def run_stopped_once(config: RunConfig, group: RankGroup) -> Results:
    """Stop a run in the middle of an epoch, then train it to its end."""
    agreement.EXCHANGE_EVERY_S = 0  # a stop holds at the next step, however short steps are
    stopped = run(RankTrainer, config, group, stop_asked=lambda: signal.SIGTERM)
    return {**run(RankTrainer, config, group), "stopped": stopped["ended"]}


def run(kind: type[RankTrainer], config: RunConfig, group: RankGroup, **worker_options: Any) -> Results:
    """Train a whole run on this rank: how it ended, its reports, its weights, and the crops that it validated."""
    reports: list[dict[str, float]] = []
    location = run_location(config)
    location.make_dirs()
    worker = Worker(
        group,
        torch.device("cpu"),
        read_in_process,
        lambda metrics, _: reports.append(metrics),
        **worker_options,
    )
    trainer = kind(TrainJob(config=config, run=location.uri, learner=GreedyLearner), worker)
    batches: list[Batch] = list(trainer.batches.validation_streams[0].validation_batches())
    results: Results = {"validated": [int(u) for b in batches for u in b.utterance]}
    try:
        results["ended"] = trainer.run()
    except NotFiniteError as error:
        results["ended"] = f"refused: {error}"
    results["reports"] = reports
    results["weights"] = {name: p.detach().clone() for name, p in trainer.learner.network.named_parameters()}
    return results


@pytest.fixture(scope="module")
def configs(
    tiny_config_in: Callable[..., ResolvedConfig], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, RunConfig]:
    return configs_in(tmp_path_factory.mktemp("runs"), tiny_config_in)


def configs_in(folder: Path, make: Callable[..., ResolvedConfig]) -> dict[str, RunConfig]:
    # With these, ranks exchange tensors in the forward pass too.
    exchanging = ["model.batch_norm=sync", "objective.negatives=global"]
    held = ["objective.target_rate=0.5", "objective.kld_warmup_steps=1"]
    overrides = {
        "whole": [*held, "train.batch_size=3", "train.log_every_steps=2"],
        "stopped": [*held, "train.batch_size=3", "train.checkpoint_every_minutes=1e-6"],
        "poisoned": ["train.max_steps=6", "train.checkpoint_every_steps=2"],
        # Seeds and lengths differ, so that a collective over the wrong ranks changes a run or never ends.
        PAIRS[0]: [*exchanging, "train.max_steps=2", "train.seed=1"],
        PAIRS[1]: [*exchanging, "train.max_steps=4", "train.seed=2"],
    }
    return {
        name: make(folder, f"storage.name={name.replace(' ', '-')}", *o).config
        for name, o in overrides.items()
    }


@pytest.fixture(scope="module")
def ranks(configs: dict[str, RunConfig], tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """Results of the two ranks of a world, for all tests of this file."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(one_rank, (str(folder), configs), nprocs=RANKS)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(RANKS)]


def test_the_deferred_all_reduce_equals_plain_ddp(ranks: list[Results]) -> None:
    for results in ranks:
        assert results["wrapped"]
        for name, tensor in results["plain"].items():
            torch.testing.assert_close(results["step"][name], tensor, rtol=1e-5, atol=1e-6)


def test_wrapping_modules_warns_of_nothing(ranks: list[Results]) -> None:
    assert [results["warnings"] for results in ranks] == [[]] * RANKS


def test_the_ranks_hold_the_same_weights_to_the_bit(ranks: list[Results]) -> None:
    assert_same(ranks[0]["step"], ranks[1]["step"])
    assert_same(ranks[0]["whole"]["weights"], ranks[1]["whole"]["weights"])


def test_the_ranks_take_the_steps_of_one_process_that_has_all_of_their_batches(ranks: list[Results]) -> None:
    encoder = small_encoder(batch_norm="none")
    start = copied_weights(encoder)
    optimizer = adam(encoder)
    modules: list[nn.Module] = [encoder.module(m) for m in range(len(encoder))]
    for step in range(STEPS):
        for rank in range(RANKS):
            gradient_step(modules, encoder, rank, step, 1 / (RANKS * MICRO_BATCHES))
        optimizer.step()
        optimizer.zero_grad()
    for name, tensor in copied_weights(encoder).items():
        torch.testing.assert_close(ranks[0]["step"][name], tensor, rtol=1e-5, atol=1e-6)
        assert not torch.equal(tensor, start[name]), name


def test_averaged_buffers_are_the_mean_of_the_ranks_own(ranks: list[Results]) -> None:
    one, other = (results["buffers before"] for results in ranks)
    running = [name for name in one if "running_" in name]
    assert len(running) == 10
    assert not any(torch.equal(one[name], other[name]) for name in running)
    for name, tensor in one.items():
        expected = (tensor + other[name]) / 2 if name in running else tensor
        for results in ranks:
            torch.testing.assert_close(results["buffers after"][name], expected)


class Alike(RankGroup):
    """A group whose ranks all have the same tensors."""

    def all_reduce_mean(self, tensor: Tensor) -> None:
        tensor.copy_(sum([tensor] * self.size, torch.zeros_like(tensor)) / self.size)


def test_statistics_of_frozen_modules_keep_their_bits() -> None:
    encoder = small_encoder(batch_norm="local")
    encoder.module(0).eval()
    for buffer in encoder.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(generator=torch.Generator().manual_seed(0))
    before = copied_weights(encoder)
    average_buffers(encoder, Share.of_each(Alike(0, 3)))
    after = copied_weights(encoder)
    changed = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"1", "2"}  # whose means are rounded, as all would be


def test_a_run_on_two_ranks_reports_together_and_validates_the_whole_split_once(
    ranks: list[Results], configs: dict[str, RunConfig]
) -> None:
    whole = [results["whole"] for results in ranks]
    assert {results["ended"] for results in whole} == {"finished at step 12, epoch 2"}  # 40 crops, 6 a step
    assert sorted(u for results in whole for u in results["validated"]) == [0, 1, 2, 3]
    assert whole[0]["reports"] == whole[1]["reports"]
    assert [r["step"] for r in whole[0]["reports"]] == [6, 12]
    folder = run_location(configs["whole"])
    assert [r["crops"] for r in records(folder, "validation")] == [4, 4]
    assert [r["step"] for r in records(folder, "train")] == [1, 2, 4, 6, 8, 10, 12]
    state = last_checkpoint(configs["whole"]).state
    assert (state.world_size, state.batch_size, state.step) == (2, 3, 12)
    assert len(set(state.kl_weights[:3])) == 3
    saved = last_checkpoint(configs["whole"]).weights()
    assert_same({name: saved[name] for name in whole[1]["weights"]}, whole[1]["weights"])


def test_a_run_that_was_stopped_in_an_epoch_ends_as_an_undisturbed_one(
    ranks: list[Results], configs: dict[str, RunConfig]
) -> None:
    sentences = {results["stopped"]["stopped"] for results in ranks}
    assert sentences == {"stopped by SIGTERM at step 2, epoch 0"}  # one step
    found, expected = last_checkpoint(configs["stopped"]), last_checkpoint(configs["whole"])
    assert_same(found.weights(), expected.weights())  # with the buffers, which were averaged at every step
    assert_same(found.optimizer(), expected.optimizer())
    of_ranks = [name for name in found.optimizer() if name.endswith(OF_RANKS)]
    assert len(of_ranks) == 10
    for name in of_ranks:
        one, other = found.optimizer()[name]
        torch.testing.assert_close((one + other) / 2, found.weights()[name.removesuffix(OF_RANKS)])


def test_metrics_are_means_over_the_ranks(
    ranks: list[Results], configs: dict[str, RunConfig], tiny_config: Callable[..., ResolvedConfig]
) -> None:
    config = configs["whole"]
    losses = []
    for rank in range(RANKS):  # the first step of each rank, computed in this process
        job = TrainJob(config=config, run=run_location(config).uri, learner=GreedyLearner)
        worker = Worker(RankGroup(rank, RANKS), torch.device("cpu"), read_in_process, lambda *_: None)
        alone = RankTrainer(job, worker)
        alone.learner.network.train()
        batch = next(alone.batches.train_streams[0].train_batches(0, 0, epochs=1))
        x = torch.from_numpy(batch.audio).float() / 32_768
        key = DrawKey(config.train.seed, 0, rank)
        out = alone.learner.network.module(0)(x, alone.learner.network.module(0).draw(x, key), 0.0)
        losses.append(float(out.nce))
    written = records(run_location(config), "train")[0]["modules"][0]
    assert written["nce"] == pytest.approx(sum(losses) / RANKS, rel=1e-5)
    one = tiny_config("train.max_steps=1", "train.log_every_steps=2", "train.batch_size=3").config
    single_rank_trainer(one).run()
    first = records(run_location(one), "train")[0]["modules"][0]
    assert first["nce"] == pytest.approx(losses[0], rel=1e-5)  # rank 0's crops are the same


def test_a_rank_with_bad_audio_stops_all_ranks_at_one_step_before_the_optimizer(
    ranks: list[Results], configs: dict[str, RunConfig]
) -> None:
    config = configs["poisoned"]
    ended = [results["poisoned"]["ended"] for results in ranks]
    for sentence in ended:
        assert sentence.startswith(
            "refused: the gradient of module 0 is not finite at step 2 (loss on this rank: "
        )
    assert "loss on this rank: nan" in ended[1]
    assert "loss on this rank: nan" not in ended[0]
    assert_same(ranks[0]["poisoned"]["weights"], ranks[1]["poisoned"]["weights"])
    saved = last_checkpoint(config).weights()  # of step 2, just before
    assert last_checkpoint(config).state.step == 2
    for name, tensor in ranks[0]["poisoned"]["weights"].items():
        assert torch.equal(saved[name], tensor), name
    assert without_timings(records(run_location(config), "train"))[-1]["step"] == 2


def test_each_group_of_a_world_trains_as_a_world_of_its_own(
    ranks: list[Results],
    configs: dict[str, RunConfig],
    tiny_config_in: Callable[..., ResolvedConfig],
    tmp_path: Path,
) -> None:
    (tmp_path / "runs").mkdir()
    in_groups = configs_in(tmp_path / "runs", tiny_config_in)
    multiprocessing.spawn(one_of_four_ranks, (str(tmp_path), in_groups), nprocs=4)
    for rank in range(4):
        pair = PAIRS[rank // 2]
        results = torch.load(tmp_path / f"rank{rank}.pt", weights_only=False)
        alone = ranks[rank % 2][pair]
        assert_same(results["weights"], alone["weights"])
        assert (results["ended"], results["reports"]) == (alone["ended"], alone["reports"])
        assert results["validated"] == alone["validated"]
    for pair in PAIRS:
        group, world = in_groups[pair], configs[pair]
        kinds = ("train", "validation")
        written, expected = (
            without_timings(records(run_location(config), *kinds)) for config in (group, world)
        )
        assert written == expected
        assert_same(last_checkpoint(group).weights(), last_checkpoint(world).weights())
        assert last_checkpoint(group).state.world_size == 2
