"""The loss of each module on the validation split, with the same crops and draws each time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vgim.model.module import GreedyModule
from vgim.model.module_output import METRICS
from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey
from vgim.model.rank_group import RankGroup
from vgim.model.stack import Encoder
from vgim.runs.histogram import Histogram, histogram_of
from vgim.training.prefetch import RankedBatch
from vgim.training.stages.link import StageLink
from vgim.training.step import frozen_latents

HISTOGRAM_CROPS = 8
"""Crops that histograms show. At 512 channels a module has four million values for them, counted in 0.15 s."""


@dataclass(frozen=True)
class Validation:
    """Means over the split's crops, over all ranks."""

    modules: list[dict[str, float]]
    """Index (`module`) and metrics of each evaluated module."""
    num_crops: int
    histograms: dict[str, Histogram] = field(default_factory=dict)
    """Histograms of latents by TensorBoard's tag, of virtual rank 0's first crops; none on ranks without them."""

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
    link: StageLink | None = None,
) -> Validation:
    """Evaluate modules of an encoder in evaluation mode.

    Latents are sampled as in training, from seeds of the validation's own, so that the loss means the same. The rank
    that has virtual rank 0 makes histograms of its first crops, which are the same for every number of ranks.

    Args:
        modules: indices of the modules to evaluate, ascending.
        batches: batches of this rank's virtual ranks. Ranks may have different numbers, since only sums are reduced.
        group: the ranks that evaluate together.
        autocast: dtype of the forward passes; None for fp32.
        link: where the latents of the last module go, if the ranks evaluate a stage of the modules. Batches are then
            the input of its first module.
    """
    device = next(encoder.parameters()).device
    sums = torch.zeros(len(modules), len(METRICS) + 1, dtype=torch.float64, device=device)
    were_training = [module for module in encoder.greedy if module.training]
    histograms: dict[str, Histogram] = {}
    encoder.eval()
    try:
        for ranked in batches:
            x = ranked.input
            num_crops = len(x)
            is_first = ranked.rank == ranked.number == 0
            key = DrawKey(seed, 0, ranked.rank, ranked.number, "validation")
            for m in range(min(modules)) if link is None else ():
                if is_first:
                    histograms |= _histograms(encoder.module(m), x, autocast)
                x = frozen_latents(encoder, m, x, key, autocast)
            for row, m in enumerate(modules):
                module = encoder.module(m)
                if is_first:
                    histograms |= _histograms(module, x, autocast)
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
    return Validation(evaluated, int(sums[0, -1].item()), histograms)


def _histograms(module: GreedyModule, x: Tensor, autocast: torch.dtype | None) -> dict[str, Histogram]:
    """Histograms of the means and deviations of a module's output for the first crops, by TensorBoard's tag."""
    with autocast_to(autocast, x.device):
        mean, std = module.distribution(x[:HISTOGRAM_CROPS])
    tensors = {"mu": mean} if std is None else {"mu": mean, "sigma": std}
    made = {f"latents/module{module.index}/{name}": histogram_of(tensor) for name, tensor in tensors.items()}
    return {tag: histogram for tag, histogram in made.items() if histogram is not None}
