"""Negatives from the frames of all data-parallel ranks, so that more workers mean a larger pool."""

from __future__ import annotations

import torch
from torch import Tensor

from vgim.model.negatives.base import Negatives, PassSizes, uniform_rows


class GlobalNegatives(Negatives):
    """Rows drawn uniformly from the frames of all ranks, once for all steps; one may be the positive.

    In eval mode, and without other ranks, the pool is the rank's own batch.
    """

    pools_ranks = True

    def draw(self, sizes: PassSizes, generator: torch.Generator) -> Tensor:
        return uniform_rows(sizes.num_ranks * sizes.num_crops * sizes.num_frames, sizes, generator)
