"""Training on a GPU: CUDA graphs compute the same steps, and its checkpoints load on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from tests.gloo_world import leave_world
from tests.training.cases import (
    adam,
    assert_same,
    audio,
    copied_weights,
    last_checkpoint,
    run_location,
    single_rank_trainer,
    small_encoder,
)
from tests.training.test_resume import Killed, Mortal, assert_same_runs
from vgim.config import ResolvedConfig, load_config
from vgim.model.precision import set_precision
from vgim.model.rank_group import ALONE, RankGroup
from vgim.model.stack import Encoder, build_encoder
from vgim.pretrained.encoder import load_encoder
from vgim.training.accumulator import StepMetrics
from vgim.training.passes import EagerPasses, GraphedPasses, make_passes
from vgim.training.share import Share
from vgim.training.step import GreedyStep
from vgim.training.trainer import train

pytestmark = pytest.mark.gpu
Maker = Callable[..., ResolvedConfig]


def trained(
    encoder: Encoder, *, graphs: bool, modules: list[int], micro_batches: int, autocast: torch.dtype | None
) -> list[list[StepMetrics]]:
    """Metrics of six steps with clipped gradients, in which the KL weight grows as in a warm-up."""
    set_precision("bf16" if autocast else "fp32")
    encoder.cuda().eval()
    for m in modules:
        encoder.module(m).train()
    passes = make_passes(encoder, modules, ALONE, autocast=autocast, cuda_graphs=graphs)
    assert isinstance(passes, GraphedPasses if graphs else EagerPasses)
    step = GreedyStep(
        encoder, passes, adam(encoder), seed=3, share=Share.of_each(ALONE), clip_norm=1.0, autocast=autocast
    )
    crops = [audio(4, seed).cuda() for seed in range(6 * micro_batches)]
    batches = [crops[first : first + micro_batches] for first in range(0, len(crops), micro_batches)]
    return [step(batch, number, 0.01 * number, measure=True) for number, batch in enumerate(batches)]


@pytest.mark.parametrize(
    ("model", "modules", "micro_batches"),
    [
        ({"family": "sim"}, [0, 1, 2, 3], 1),
        ({"family": "sim"}, [0, 1, 2, 3], 2),
        ({"family": "sim"}, [2], 1),
        ({"family": "gim"}, [0, 1, 2, 3], 1),
        ({"family": "cpc"}, [0], 1),
        ({"family": "gim", "head": "linear"}, [0, 1, 2, 3], 1),
        ({"family": "cpc", "head": "linear"}, [0], 1),
        ({"family": "gim", "relus": (True, False, True, True, False)}, [0, 1, 2, 3], 1),
        ({"posterior_norm": "local"}, [0, 1, 2, 3], 1),
        ({"gru_bidirectional": True, "posterior_norm": "local"}, [0, 1, 2, 3], 1),
        ({"family": "gim", "gru_bidirectional": True}, [0, 1, 2, 3], 1),
    ],
)
def test_graphs_take_the_steps_of_eager_passes(
    model: dict[str, Any], modules: list[int], micro_batches: int
) -> None:
    options: dict[str, Any] = {"modules": modules, "micro_batches": micro_batches, "autocast": None}
    found = {}
    for graphs in (False, True):
        encoder = small_encoder(objective={"window_frames": 24, "kld_weight": 0.01}, **model)
        metrics = trained(encoder, graphs=graphs, **options)
        found[graphs] = metrics, copied_weights(encoder)
    for eager, graphed in zip(found[False][0], found[True][0], strict=True):
        for one, other in zip(eager, graphed, strict=True):
            for name, value in one.items():
                torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-5)
    for name, weight in found[False][1].items():
        torch.testing.assert_close(found[True][1][name], weight, rtol=1e-3, atol=1e-4, msg=name)


def test_passes_beside_one_another_take_the_same_steps_each_time() -> None:
    # At full width, where passes of modules share the GPU: memory that two of them wrote would show.
    found = []
    for graphs in (True, True, False):
        set_precision("bf16")
        config = load_config("librispeech-sim", ["model.channels=512", "model.gru_units=256"]).config
        encoder = build_encoder(config.model, config.objective, 0).cuda().train()
        passes = make_passes(encoder, range(4), ALONE, autocast=torch.bfloat16, cuda_graphs=graphs)
        share = Share.of_each(ALONE)
        step = GreedyStep(
            encoder, passes, adam(encoder), seed=3, share=share, clip_norm=0.0, autocast=torch.bfloat16
        )
        losses = []
        for number in range(25):
            generator = torch.Generator().manual_seed(number)
            x = torch.randn(32, 20_480, generator=generator).cuda()
            metrics = step([x, x.flip(0)], number, 0.001, measure=number % 5 == 0)
            losses.append(torch.stack([m["loss"] for m in metrics]))
        found.append((torch.stack(losses).cpu(), {n: w.cpu() for n, w in copied_weights(encoder).items()}))
    (losses, weights), (losses_again, weights_again), (eager_losses, _) = found
    assert torch.equal(losses, losses_again)
    assert_same(weights, weights_again)
    torch.testing.assert_close(losses, eager_losses, rtol=2e-2, atol=0)


def test_graphs_of_half_precision_follow_fp32() -> None:
    losses = {}
    for autocast in (None, torch.bfloat16):
        encoder = small_encoder(objective={"kld_weight": 0.01}, channels=64)
        metrics = trained(encoder, graphs=True, modules=[0, 1, 2, 3], micro_batches=1, autocast=autocast)
        losses[autocast] = torch.stack([torch.stack([m["loss"] for m in step]) for step in metrics])
    torch.testing.assert_close(losses[torch.bfloat16], losses[None], rtol=3e-2, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "settings",
    [
        ["train.epochs=2"],
        ["train.schedule=sequential", "train.epochs=1"],
        ["train.accumulate=2", "train.epochs=4"],
    ],
)
def test_killed_run_equals_straight_run_on_a_gpu(
    tiny_config: Maker, settings: list[str], precision: str
) -> None:
    every = [
        "cluster.device=cuda",
        f"train.precision={precision}",
        "train.checkpoint_every_steps=7",
        *settings,
    ]
    straight = tiny_config("storage.name=straight", *every).config
    killed = tiny_config("storage.name=killed", *every).config
    single_rank_trainer(straight).run()
    with pytest.raises(Killed):
        single_rank_trainer(killed, Mortal).run()
    assert last_checkpoint(killed).state.step == 14
    single_rank_trainer(killed).run()
    assert_same_runs(straight, killed)


def test_a_checkpoint_of_a_gpu_is_read_on_a_cpu_and_trained_on(tiny_config: Maker) -> None:
    run = tiny_config("cluster.device=cuda", "train.epochs=1")
    train(run)
    folder = run_location(run.config)
    on_cpu = load_encoder(folder.uri, device="cpu").encoder
    on_gpu = load_encoder(folder.uri, device="cuda").encoder
    x = audio(2)
    torch.testing.assert_close(on_gpu.encode(x.cuda()).cpu(), on_cpu.encode(x), rtol=1e-3, atol=1e-4)
    before = last_checkpoint(run.config).weights()
    assert_same(copied_weights(on_cpu), before)
    train(tiny_config("cluster.device=cpu", "train.epochs=2"))
    assert last_checkpoint(run.config).state.epoch == 2


def one_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    group = RankGroup.of_world()
    found = {}
    for graphs in (False, True):
        encoder = small_encoder(objective={"kld_weight": 0.01}, batch_norm="none").cuda().train()
        passes = make_passes(encoder, range(len(encoder)), group, autocast=None, cuda_graphs=graphs)
        step = GreedyStep(
            encoder, passes, adam(encoder), seed=3, share=Share.of_each(group), clip_norm=0.0, autocast=None
        )
        for number in range(4):
            batches = [audio(3, 100 * rank + 10 * number + n).cuda() for n in range(2)]
            step(batches, number, 0.01, measure=number == 2)
        found[type(passes).__name__] = {
            name: tensor.cpu() for name, tensor in copied_weights(encoder).items()
        }
    torch.save(found, f"{folder}/rank{rank}.pt")
    leave_world()


def test_two_ranks_average_the_gradients_of_their_graphs_as_ddp_does(tmp_path: Path) -> None:
    multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=2)
    one, other = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert_same(one["GraphedPasses"], other["GraphedPasses"])
    for name, weight in one["EagerPasses"].items():
        torch.testing.assert_close(one["GraphedPasses"][name], weight, rtol=1e-3, atol=1e-4, msg=name)
