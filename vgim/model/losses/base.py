"""The shape of a contrastive loss.

A new loss is a subclass of `ContrastiveLoss` in a file of this folder, and a line in
`vgim.config.choices.CONTRASTIVE_LOSSES`.

Shapes: B crops, T frames, W window frames, C channels (Cc of contexts, Cz of targets), K prediction steps,
R rows of the pool of negatives.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vgim.config.choices import CONTRASTIVE_LOSSES
from vgim.config.schema import ObjectiveConfig
from vgim.model.draws import Draws
from vgim.model.losses.facts import LossFacts
from vgim.model.negatives import negatives_of


class ContrastiveResult(NamedTuple):
    """Two scalars of a pass."""

    loss: Tensor
    """Mean over crops, window frames and steps."""
    accuracy: Tensor
    """Share of positives that score above all of their negatives; a tie counts as wrong."""


class ContrastiveLoss(nn.Module, LossFacts):
    """K linear maps from contexts to later latents, and a loss of their scores against negatives.

    Metrics call its value `nce` and a checkpoint its parameters `nce.weight`, whichever loss it is.

    Args:
        objective: The config's section; `predictor_init` is how the maps start.
        num_steps: K of the module.
        channels_context: Cc.
        channels_target: Cz.
    """

    def __init__(
        self, objective: ObjectiveConfig, num_steps: int, channels_context: int, channels_target: int
    ) -> None:
        super().__init__()
        self.negatives = negatives_of(objective.negatives)
        """Draws the negatives of a pass."""
        self.weight = nn.Parameter(torch.zeros(num_steps, channels_target, channels_context))
        """[K, Cz, Cc]: without bias; weight[k-1] predicts z_{t+k} from c_t."""
        if objective.predictor_init == "uniform":  # nn.Linear's default for one map of this fan-in
            bound = 1 / math.sqrt(channels_context)
            nn.init.uniform_(self.weight, -bound, bound)

    @abstractmethod
    def forward(self, c_BWC: Tensor, z_BTC: Tensor, pool_RC: Tensor, draws: Draws) -> ContrastiveResult:
        """The loss of a pass, with a graph. Randomness comes from `draws` alone, so that CUDA graphs can replay it.

        Args:
            c_BWC: Contexts of the window.
            z_BTC: Targets of all frames; the positive of (t, k) is frame t + k.
            pool_RC: Rows that negatives are taken from.
            draws: The window, and the negatives of each context.
        """


def contrastive_loss(name: str) -> type[ContrastiveLoss]:
    """The class of the loss that a config calls `name`.

    Raises:
        KeyError: The registry has no such name.
        TypeError: The registered class is no `ContrastiveLoss`.
    """
    found = CONTRASTIVE_LOSSES[name].load()
    if not (isinstance(found, type) and issubclass(found, ContrastiveLoss)):
        raise TypeError(
            f"objective.loss={name} is implemented by {found!r}, which is no subclass of ContrastiveLoss"
        )
    return found
