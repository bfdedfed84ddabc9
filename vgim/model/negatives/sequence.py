"""Negatives from the utterance of the context, whose speaker and recording then tell nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from vgim.model.negatives.base import Negatives, PassSizes, uniform_rows


class SequenceNegatives(Negatives):
    """Rows drawn uniformly from the frames of the context's own crop, once for all steps; one may be the positive."""

    def draw(self, sizes: PassSizes, generator: torch.Generator) -> Tensor:
        T = sizes.num_frames
        first_rows = torch.arange(sizes.num_crops, device=generator.device)[:, None, None] * T
        return uniform_rows(T, sizes, generator) + first_rows
