"""Negatives that are never the positive, as InfoNCE's derivation has them."""

from __future__ import annotations

import torch
from torch import Tensor

from vgim.model.negatives.base import Negatives, PassSizes, uniform_rows


class ExactNegatives(Negatives):
    """Rows drawn uniformly from all frames of the rank's batch but the positive, for each step k anew."""

    def draw(self, sizes: PassSizes, generator: torch.Generator) -> Tensor:
        B, T, W = sizes.num_crops, sizes.num_frames, sizes.num_window
        device = generator.device
        k = torch.arange(1, sizes.num_steps + 1, device=device)[:, None, None, None]
        b = torch.arange(B, device=device)[:, None, None]
        w = torch.arange(W, device=device)[:, None]
        positive = b * T + sizes.window_start + w + k
        # Uniform over all rows but the positive's: draw from one fewer and step over it. A row whose t + k leaves
        # the window is never used.
        rows = uniform_rows(B * T - 1, sizes, generator, num_draws=sizes.num_steps)
        return (rows + (rows >= positive)).clamp_(max=B * T - 1)
