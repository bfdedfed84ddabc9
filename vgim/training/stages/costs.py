"""How long each module's pass takes on this device, by which stages are balanced."""

from __future__ import annotations

import copy
import time

import torch

from vgim.model.precision import autocast_to
from vgim.model.randomness import DrawKey
from vgim.model.stack import Encoder

WARM_UP, MEASURED = 1, 3


def module_costs(
    encoder: Encoder, batch_size: int, num_samples: int, kld_weight: float, autocast: torch.dtype | None
) -> list[float]:
    """Seconds of each module's forward and backward on a micro-batch of noise: the fastest of a few passes.

    Passes run on copies, so that neither weights nor BatchNorm's statistics change.

    Args:
        encoder: on its device.
        num_samples: samples of a crop.
        autocast: dtype of the forward passes; None for fp32.
    """
    device = next(encoder.parameters()).device
    x = torch.randn(batch_size, num_samples, device=device, generator=torch.Generator(device).manual_seed(0))
    costs = []
    for m in range(len(encoder)):
        module = copy.deepcopy(encoder.module(m)).train()
        seconds = []
        for number in range(WARM_UP + MEASURED):
            draws = module.draw(x, DrawKey(seed=0, step=number, rank=0))
            _synchronize(device)
            began = time.perf_counter()
            with autocast_to(autocast, device):
                out = module(x, draws, kld_weight, False)
            out.loss.backward()
            _synchronize(device)
            seconds.append(time.perf_counter() - began)
        costs.append(min(seconds[WARM_UP:]))
        x = out.latents
    return costs


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
