"""A number of ranks that changes: virtual ranks make the steps of any number of ranks those of the largest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, multiprocessing
from torch import distributed as dist

from tests.gloo_world import leave_world
from tests.training.cases import (
    adam,
    assert_same,
    audio,
    copied_weights,
    data_parallel_modules,
    last_checkpoint,
    records,
    run_location,
    small_encoder,
    without_timings,
)
from vgim.config import ResolvedConfig, RunConfig
from vgim.data.stream.readers import read_in_threads
from vgim.model.rank_group import ALONE, RankGroup
from vgim.runs.metrics import append_event
from vgim.schedules.schedule import Phase
from vgim.storage import Location
from vgim.training.ddp import average_buffers
from vgim.training.greedy import GreedyLearner
from vgim.training.job import TrainJob
from vgim.training.learner import Worker
from vgim.training.loop import RankTrainer
from vgim.training.passes import EagerPasses
from vgim.training.progress import Progress
from vgim.training.share import Share
from vgim.training.step import GreedyStep

Maker = Callable[..., ResolvedConfig]
MOST = 4
# Two epochs of two steps, each of four virtual ranks and two micro-batches of two crops. The modules have BatchNorm.
SETTINGS = (
    "train.batch_size=2",
    "train.accumulate=2",
    "train.epochs=2",
    "objective.target_rate=0.5",
    "objective.kld_warmup_steps=1",
)
ABOUT = {"files": {}, "best_loss": None, "validation_loss": None, "kl_weights": ()}
"""What of a checkpoint's state depends on the order of sums."""
ELASTIC = (*SETTINGS, f"cluster.workers=1..{MOST}")


class LostError(Exception):
    """The ranks are lost."""


class LostInTheMiddle(RankTrainer):
    """A trainer that ends within the second epoch, after a checkpoint."""

    def _between_steps(self, phase: Phase, progress: Progress) -> tuple[Progress, bool]:
        progress, done = super()._between_steps(phase, progress)
        if progress.step == 3:
            raise LostError
        return progress, done


def train_here(
    config: RunConfig,
    group: RankGroup,
    world_size_before: int = 0,
    kind: type[RankTrainer] = RankTrainer,
) -> None:
    location = run_location(config)
    location.make_dirs()
    worker = Worker(group, torch.device("cpu"), read_in_threads, lambda metrics, checkpoint: None)
    job = TrainJob(
        config=config, run=location.uri, learner=GreedyLearner, world_size_before=world_size_before
    )
    kind(job, worker).run()


def without_accumulation(group: RankGroup) -> dict[str, Tensor]:
    """Weights and statistics after three steps of all modules, in which a rank may have a single micro-batch."""
    share, encoder = Share(group, MOST), small_encoder(batch_norm="local")
    passes = EagerPasses(encoder, data_parallel_modules(encoder, group), None)
    step = GreedyStep(encoder, passes, adam(encoder), seed=3, share=share, clip_norm=0.0, autocast=None)
    for number in range(3):
        step([audio(2, 10 * number + v) for v in share.virtual_ranks], number, 0.01, measure=False)
    average_buffers(encoder, share)
    return copied_weights(encoder)


def one_of_four(rank: int, folder: str, configs: dict[str, RunConfig]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/meet", timedelta(minutes=10), rank=rank, world_size=MOST
    )
    world = RankGroup.of_world()
    three, two = world.split([(0, 1, 2), (3,)]), world.split([(0, 1), (2, 3)])
    train_here(configs["fixed"], world)
    train_here(configs["4"], world)
    # torch names a group by how many groups a rank has made, so that ranks of one group must have made as many before.
    if rank < 2:
        train_here(configs["2"], two)
    else:
        with suppress(LostError):
            train_here(configs["resumed"], two, kind=LostInTheMiddle)
    dist.barrier()
    train_here(configs["3" if rank < 3 else "1"], three)
    if rank < 3:
        train_here(configs["resumed"], three, 2)
        torch.save(without_accumulation(three), f"{folder}/rank{rank}.pt")
    leave_world()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elastic")


@pytest.fixture(scope="module")
def trained(tiny_config_in: Maker, folder: Path) -> dict[str, RunConfig]:
    """Finished runs of a fixed number of four ranks, and of one to four where four is the largest number."""
    overrides = {str(size): [*ELASTIC, f"storage.name=of-{size}"] for size in range(1, MOST + 1)}
    overrides["fixed"] = [*ELASTIC, "cluster.workers=0", "storage.name=fixed"]
    overrides["resumed"] = [*ELASTIC, "storage.name=resumed", "train.checkpoint_every_steps=1"]
    configs = {name: tiny_config_in(folder, *settings).config for name, settings in overrides.items()}
    multiprocessing.spawn(one_of_four, (str(folder), configs), nprocs=MOST)
    return configs


def test_as_many_ranks_as_virtual_ranks_train_as_a_fixed_number_to_the_bit(
    trained: dict[str, RunConfig],
) -> None:
    fixed, elastic = (last_checkpoint(trained[name]) for name in ("fixed", "4"))
    assert_same(elastic.weights(), fixed.weights())
    assert_same(elastic.optimizer(), fixed.optimizer())
    kinds = ("train", "validation")
    written, expected = (without_timings(records(run_location(trained[n]), *kinds)) for n in ("4", "fixed"))
    assert written == expected


@pytest.mark.parametrize("name", ["1", "2", "3", "resumed"])
def test_fewer_ranks_take_the_same_steps_up_to_the_order_of_sums(
    trained: dict[str, RunConfig], name: str
) -> None:
    full, fewer = (last_checkpoint(trained[n]) for n in ("4", name))
    assert fewer.state.model_copy(update=ABOUT) == full.state.model_copy(update=ABOUT)
    assert fewer.state.kl_weights == pytest.approx(full.state.kl_weights, rel=1e-4)
    assert len(set(full.state.kl_weights)) == 4
    assert full.state.step == 4
    expected = full.weights()
    for tensor_name, tensor in fewer.weights().items():
        torch.testing.assert_close(tensor, expected[tensor_name], rtol=1e-5, atol=1e-6, msg=tensor_name)


@pytest.mark.parametrize("name", ["1", "2", "3"])
def test_metrics_and_validation_losses_are_those_of_all_virtual_ranks(
    trained: dict[str, RunConfig], name: str
) -> None:
    full, fewer = (records(run_location(trained[n]), "train", "validation") for n in ("4", name))
    assert len(full) == len(fewer) == 6
    for record, expected in zip(without_timings(fewer), without_timings(full), strict=True):
        assert flat(record) == pytest.approx(flat(expected), rel=1e-4, abs=1e-5)
    for record in fewer:
        if record["kind"] == "train":
            assert record["crops_per_s"] == pytest.approx(16 * record["steps_per_s"])


def flat(record: dict[str, Any]) -> dict[str, Any]:
    """The record's numbers; the KL weight of the GRU is none."""
    modules = {
        f"{m['module']} {name}": value
        for m in record["modules"]
        for name, value in m.items()
        if value is not None
    }
    return modules | {name: value for name, value in record.items() if isinstance(value, int | float)}


def test_ranks_with_one_micro_batch_and_ranks_with_two_agree_on_the_order_of_collectives(
    trained: dict[str, RunConfig], folder: Path
) -> None:
    alone = without_accumulation(ALONE)
    for rank in range(3):
        for name, tensor in torch.load(folder / f"rank{rank}.pt").items():
            torch.testing.assert_close(tensor, alone[name], rtol=1e-5, atol=1e-6, msg=name)


def test_the_log_says_how_many_ranks_train_and_what_each_computes(trained: dict[str, RunConfig]) -> None:
    def events(name: str) -> list[dict[str, Any]]:
        return [record for record in records(run_location(trained[name]), "event") if "workers" in record]

    (three,) = events("3")
    assert three["message"] == (
        "3 workers of at most 4: each computes 2 or 4 micro-batches of 2 crops a step, together 16 crops"
    )
    assert "workers_before" not in three
    first, second = events("resumed")
    assert (first["workers"], first["step"]) == (2, 0)
    assert (second["workers_before"], second["workers"], second["step"]) == (2, 3, 3)
    assert second["message"] == (
        "from 2 to 3 workers of at most 4: each computes 2 or 4 micro-batches of 2 crops a step, together 16 crops"
    )
    messages = [record["message"] for record in records(run_location(trained["resumed"]), "event")]
    assert not any("will differ" in message for message in messages)
    assert events("fixed") == []


def test_shares_are_contiguous_equal_to_one_and_weigh_every_virtual_rank_alike() -> None:
    for num_virtual in range(1, 9):
        for size in range(1, num_virtual + 1):
            shares = [Share(RankGroup(rank, size), num_virtual) for rank in range(size)]
            assert [v for share in shares for v in share.virtual_ranks] == list(range(num_virtual))
            lengths = {len(share.virtual_ranks) for share in shares}
            assert max(lengths) - min(lengths) <= 1
            assert sum(share.weight for share in shares) == pytest.approx(size)
            for share in shares:  # the mean over the ranks of the sums of scaled losses is the mean over all
                scale = share.loss_scale(3 * len(share.virtual_ranks))
                assert scale / size == pytest.approx(1 / (3 * num_virtual))
    assert Share(RankGroup(1, 3), 3).loss_scale(7) == 1 / 7
    assert Share(RankGroup(1, 3), 3).weight == 1.0


def test_the_log_goes_on_after_a_killed_ranks_half_line(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"kind": "event", "step": 0, "message": "first"}\n{"kind": "tra')
    append_event(Location(tmp_path), "waiting for nodes")
    assert [(r["step"], r["message"]) for r in records(tmp_path)] == [(0, "first"), (0, "waiting for nodes")]
