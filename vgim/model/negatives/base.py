"""The shape of a kind of negatives.

A new kind is a subclass of `Negatives` in a file of this folder, and a line in `vgim.config.choices.NEGATIVES`.

Shapes: B crops, T frames, W window frames, K prediction steps, N negatives.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from vgim.config.choices import NEGATIVES


class PassSizes(NamedTuple):
    """Sizes of one forward pass of one module."""

    num_crops: int
    """B, on this rank."""
    num_frames: int
    """T, of the module's latents."""
    num_window: int
    """W: frames that give contexts and positives."""
    window_start: int
    """First frame of the window."""
    num_steps: int
    """K."""
    num_negatives: int
    """N."""
    num_ranks: int
    """Ranks whose frames make the pool; 1 unless the kind pools ranks and the module is in training mode."""


class Negatives(ABC):
    """A kind of negatives, as `objective.negatives` names it.

    A negative is a row of the pool: the frames of all crops, crop after crop, [B·T, C]. Frame t of crop b is row
    b·T + t. If the kind pools ranks, the pool has the rows of all ranks, and those of rank r start at r·B·T.
    """

    pools_ranks: ClassVar[bool] = False
    """Whether a training pass gathers the frames of all ranks. Ranks then wait for one another in every pass, which
    excludes CUDA graphs."""

    @abstractmethod
    def draw(self, sizes: PassSizes, generator: torch.Generator) -> Tensor:
        """Draw the negatives of every context of the window.

        Args:
            sizes: Sizes of the pass.
            generator: Source of the draws; the result lies on its device.

        Returns:
            Rows of the pool, int64. [1, B, W, N] where one draw serves all prediction steps, for which InfoNCE has
            fused kernels; else [K, B, W, N].
        """


def uniform_rows(high: int, sizes: PassSizes, generator: torch.Generator, num_draws: int = 1) -> Tensor:
    """Draw [num_draws, B, W, N] integers uniformly from 0 to high - 1."""
    shape = (num_draws, sizes.num_crops, sizes.num_window, sizes.num_negatives)
    return torch.randint(high, shape, generator=generator, device=generator.device)


def negatives_of(name: str) -> Negatives:
    """The kind of negatives that a config calls `name`.

    Raises:
        KeyError: The registry has no such name.
        TypeError: The registered class is no `Negatives`.
    """
    kind = NEGATIVES[name].load()
    if not (isinstance(kind, type) and issubclass(kind, Negatives)):
        raise TypeError(
            f"objective.negatives={name} is implemented by {kind!r}, which is no subclass of Negatives"
        )
    return kind()
