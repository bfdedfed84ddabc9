"""The loss of each module on the validation split, the same crops and draws each time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vgim.model.module import METRICS
from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import RankGroup
from vgim.model.stack import Encoder
from vgim.train.prefetch import DeviceBatch, Prefetcher
from vgim.train.step import frozen_latents


@dataclass(frozen=True)
class Validation:
    """Means over the split's crops, over all ranks."""

    modules: list[dict[str, float]]  # index and METRICS of each module
    num_crops: int

    @property
    def loss(self) -> float:
        """Mean over these modules, what the best checkpoint is chosen by; the KL term counts in full here."""
        return sum(module["loss"] for module in self.modules) / len(self.modules)


@torch.no_grad()
def validate(
    encoder: Encoder,
    modules: Sequence[int],
    batches: Prefetcher,
    to_audio: Callable[[DeviceBatch], Tensor],
    *,
    seed: int,
    group: RankGroup,
    kld_weight: float,
    autocast: torch.dtype | None,
    look_at_first: Callable[[Tensor], None] | None = None,
) -> Validation:
    """Evaluate modules, the encoder in eval mode. Ranks may have unequal numbers of batches: only the sums are reduced.

    Sampling goes on as in training, with the validation's own seeds, so that the loss means the same.
    `look_at_first` is given the audio of the first batch, with the encoder in evaluation mode.
    """
    device = next(encoder.parameters()).device
    sums = torch.zeros(len(modules), len(METRICS) + 1, dtype=torch.float64, device=device)
    were_training = [module for module in encoder.greedy if module.training]
    encoder.eval()
    try:
        for number, batch in enumerate(batches):
            x = to_audio(batch)
            if number == 0 and look_at_first is not None:
                look_at_first(x)
            size = len(x)
            key = DrawKey(seed, 0, group.rank, number, "validation")
            for m in range(min(modules)):
                x = frozen_latents(encoder, m, x, key, autocast)
            for row, m in enumerate(modules):
                module = encoder.module(m)
                draws = module.draw(x, key)
                with autocast_to(autocast, x.device):
                    out = module(x, draws, kld_weight, True)
                metrics = out.metrics()
                row_values = [*(metrics[name] for name in METRICS), torch.ones_like(out.loss)]
                sums[row] += size * torch.stack(row_values).double()
                x = out.latents
    finally:
        for trained in were_training:
            trained.train()
    group.all_reduce_sum(sums)
    table = (sums[:, :-1] / sums[:, -1:]).tolist()
    of_modules = [
        {"module": m, **dict(zip(METRICS, row, strict=True))} for m, row in zip(modules, table, strict=True)
    ]
    return Validation(of_modules, int(sums[0, -1].item()))
