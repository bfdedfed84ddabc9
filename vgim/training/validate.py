"""The loss of each module on the validation split, with the same crops and draws each time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vgim.model.module_output import METRICS
from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import RankGroup
from vgim.model.stack import Encoder
from vgim.training.prefetch import RankedBatch
from vgim.training.stages.link import StageLink
from vgim.training.step import frozen_latents


@dataclass(frozen=True)
class Validation:
    """Means over the split's crops, over all ranks."""

    modules: list[dict[str, float]]
    """Index (`module`) and metrics of each evaluated module."""
    num_crops: int

    @property
    def loss(self) -> float:
        """Mean loss of the modules, by which the best checkpoint is chosen; the KL term has its full weight."""
        return sum(module["loss"] for module in self.modules) / len(self.modules)


@torch.no_grad()
def validate(
    encoder: Encoder,
    modules: Sequence[int],
    batches: Iterable[RankedBatch],
    *,
    seed: int,
    group: RankGroup,
    kld_weight: float,
    autocast: torch.dtype | None,
    on_first_batch: Callable[[Tensor], None] | None = None,
    link: StageLink | None = None,
) -> Validation:
    """Evaluate modules of an encoder in evaluation mode.

    Latents are sampled as in training, from seeds of the validation's own, so that the loss means the same.

    Args:
        modules: indices of the modules to evaluate, ascending.
        batches: batches of this rank's virtual ranks. Ranks may have different numbers, since only sums are reduced.
        group: the ranks that evaluate together.
        autocast: dtype of the forward passes; None for fp32.
        on_first_batch: called with the audio [B, L] of the first batch.
        link: where the latents of the last module go, if the ranks evaluate a stage of the modules. Batches are then
            the input of its first module.
    """
    device = next(encoder.parameters()).device
    sums = torch.zeros(len(modules), len(METRICS) + 1, dtype=torch.float64, device=device)
    were_training = [module for module in encoder.greedy if module.training]
    encoder.eval()
    try:
        for ranked in batches:
            x = ranked.input
            if on_first_batch is not None:
                on_first_batch(x)
                on_first_batch = None
            num_crops = len(x)
            key = DrawKey(seed, 0, ranked.rank, ranked.number, "validation")
            for m in range(min(modules)) if link is None else ():
                x = frozen_latents(encoder, m, x, key, autocast)
            for row, m in enumerate(modules):
                module = encoder.module(m)
                draws = module.draw(x, key)
                with autocast_to(autocast, x.device):
                    out = module(x, draws, kld_weight, True)
                metrics = out.metrics()
                one = torch.ones_like(out.loss)  # whose sum is the number of crops
                values = torch.stack([*(metrics[name] for name in METRICS), one])
                sums[row] += num_crops * values.double()
                x = out.latents
            if link is not None:
                link.send(x, ranked.rank, validation=True)
    finally:
        for greedy in were_training:
            greedy.train()
    group.all_reduce_sum(sums)
    means = (sums[:, :-1] / sums[:, -1:]).tolist()
    evaluated = [
        {"module": m, **dict(zip(METRICS, row, strict=True))} for m, row in zip(modules, means, strict=True)
    ]
    return Validation(evaluated, int(sums[0, -1].item()))
