"""Two ranks with half of the batch each give the gradient of one process with all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import multiprocessing
from torch.nn.parallel import DistributedDataParallel

from tests.gloo_world import leave_world
from tests.model.cases import audio, small_encoder
from vgim.model.draws import Draws
from vgim.model.module import GreedyModule
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import RankGroup

RANKS, CROPS, SAMPLES, KLD_WEIGHT = 2, 4, 90, 0.05
KEY = DrawKey(seed=1, step=0)
SETTINGS = {"negatives": "global", "prediction_steps": 3, "num_negatives": 5, "window_frames": 6}


def modules_of_both_families() -> list[GreedyModule]:
    normed: tuple[dict[str, Any], ...] = ({"posterior_norm": "sync"}, {"family": "sim"}, {"family": "cpc"})
    encoders = [small_encoder(model={"batch_norm": "sync", **model}, **SETTINGS) for model in normed]
    return [encoder.module(index) for encoder in encoders for index in range(len(encoder))]


def draws_of_rank(draws: Draws, rank: int) -> Draws:
    """The draws of a rank's crops, from those of the whole batch."""
    mine = slice(rank * CROPS, (rank + 1) * CROPS)
    return draws._replace(
        negatives=draws.negatives[:, mine],
        pooled=True,
        eps_z=None if draws.eps_z is None else draws.eps_z[mine],
        eps_c=None if draws.eps_c is None else draws.eps_c[mine],
    )


def buffers_of(module: GreedyModule) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in module.named_buffers()}


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=RANKS)
    inputs = torch.load(f"{folder}/inputs.pt", weights_only=False)
    results = []
    for module, (x, draws) in zip(modules_of_both_families(), inputs, strict=True):
        module.set_rank_group(RankGroup.of_world())
        x = x[rank * CROPS : (rank + 1) * CROPS]
        own = module.draw(x, KEY._replace(rank=rank))
        assert own.pooled
        assert int(own.negatives.max()) >= CROPS * module.num_frames(x.shape[1])
        replica = DistributedDataParallel(module)
        out = replica(x, draws_of_rank(draws, rank), KLD_WEIGHT)
        out.loss.backward()
        grads = {name: p.grad for name, p in module.named_parameters()}
        results.append((out.loss.detach(), grads, buffers_of(module), out.latents))
        if module.spec.convs:  # the layout of GPUs
            x_BTC = x[..., None] if x.ndim == 2 else x
            torch.testing.assert_close(module.layers(x_BTC), module.layers._channels_last(x_BTC))
        module.eval()
        own = module.draw(x[: CROPS - rank], KEY)  # ragged batches: no rank waits for another
        assert not own.pooled
        module(x[: CROPS - rank], own)
    torch.save(results, f"{folder}/rank{rank}.pt")
    leave_world()


def test_two_ranks_equal_one_process_with_the_union_batch(tmp_path: Path) -> None:
    inputs, expected, latents = [], [], torch.empty(0)
    for module in modules_of_both_families():
        x = audio(RANKS * CROPS, SAMPLES) if module.index == 0 else latents
        draws = module.draw(x, KEY)
        inputs.append((x, draws))
        out = module(x, draws, KLD_WEIGHT)
        out.loss.backward()
        grads = {name: p.grad for name, p in module.named_parameters()}
        latents = out.latents
        expected.append((out.loss.detach(), grads, buffers_of(module), latents))
    torch.save(inputs, tmp_path / "inputs.pt")
    multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in range(RANKS)]
    for (loss, grads, buffers, latents), *of_ranks in zip(expected, *ranks, strict=True):
        losses, rank_grads, rank_buffers, rank_latents = zip(*of_ranks, strict=True)
        torch.testing.assert_close(torch.stack(losses).mean(), loss)
        torch.testing.assert_close(torch.cat(rank_latents), latents)
        for rank in range(RANKS):
            for name, grad in grads.items():
                torch.testing.assert_close(rank_grads[rank][name], grad, rtol=1e-8, atol=1e-10)
            for name, buffer in buffers.items():
                torch.testing.assert_close(rank_buffers[rank][name], buffer)
