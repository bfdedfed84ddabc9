"""Negatives from all frames of the rank's batch, as in the public reference implementation."""

from __future__ import annotations

import torch
from torch import Tensor

from vgim.model.negatives.base import Negatives, PassSizes, uniform_rows


class BatchNegatives(Negatives):
    """Rows drawn uniformly from all frames of the rank's batch, once for all steps; one may be the positive."""

    def draw(self, sizes: PassSizes, generator: torch.Generator) -> Tensor:
        return uniform_rows(sizes.num_crops * sizes.num_frames, sizes, generator)
