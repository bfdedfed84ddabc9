"""Running statistics of BatchNorm and normalized posteriors, measured anew while the weights stay.

What normalizes in evaluation mode are means over the batches of training, the last ones most. An encoder that has not
been trained has none, and one that was trained on augmented audio has those of augmented audio.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vgim.model.stack import Encoder


@torch.no_grad()
def measure_running_statistics(encoder: Encoder, batches: Iterable[Tensor]) -> int:
    """Set running statistics to their average over batches, as `torch.optim.swa_utils.update_bn` does.

    Every module passes on μ, as it does for readers. The encoder is in evaluation mode afterwards.

    Args:
        encoder: The encoder.
        batches: Normalized audio, [B, L] each.

    Returns:
        Crops that were averaged over; 0 for an encoder without such statistics, which reads no batch.
    """
    norms = [layer for layer in encoder.modules() if isinstance(layer, nn.BatchNorm1d)]
    if not norms:
        return 0
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # in torch: the plain average over all batches
    encoder.train()
    num_crops = 0
    try:
        for x in batches:
            num_crops += len(x)
            for index in range(len(encoder)):
                x = encoder.module(index).represent(x)
    finally:
        encoder.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    return num_crops
