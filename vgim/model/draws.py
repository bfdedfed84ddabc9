"""Random numbers of one forward pass of one module, drawn before the pass.

So the pass is a function of its inputs: tests fix the draws, torch.compile and CUDA graphs see no generator, and the
draws depend on the key alone.

Shapes: B crops, T frames, W window frames, C channels, K prediction steps, N negatives.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vgim.model.negatives import Negatives, PassSizes
from vgim.model.randomness import seeded_generator, splitmix64


class Draws(NamedTuple):
    """The window, the negatives and the noise of one forward pass."""

    window_start: int | Tensor
    """First frame of the window that gives contexts and positives. As a tensor, [] int64, it may change between
    replays of a CUDA graph."""
    negatives: Tensor
    """[1 or K, B, W, N]: rows of the pool [B·T, C] that serve as negatives for the context at a window
    frame. The first axis has 1 entry where one draw serves all steps k, else one per step."""
    pooled: bool
    """Whether the pool is the frames of all ranks, in which rank r's rows start at r·B·T; else it is this rank's."""
    eps_z: Tensor | None
    """[B, T, C]: noise of the targets z; None if z = μ or the module has no posterior."""
    eps_c: Tensor | None
    """[B, W, C]: noise of the contexts c, independent of the targets' and drawn for the window alone."""

    def window(self, x_BTC: Tensor) -> Tensor:
        """The window [B, W, C] of a module's frames."""
        num_window = self.negatives.shape[2]  # torch 2.10 cannot compile a property here
        if num_window == x_BTC.shape[1]:
            return x_BTC
        if isinstance(self.window_start, Tensor):
            frames = self.window_start + torch.arange(num_window, device=x_BTC.device)
            return x_BTC.index_select(1, frames)
        return x_BTC[:, self.window_start : self.window_start + num_window]

    def start_on_device(self) -> Tensor:
        """The window's first frame as a tensor, [] int64."""
        if isinstance(self.window_start, Tensor):
            return self.window_start
        # Filled on the device: copying a number to a GPU would make the CPU wait.
        return torch.full((), self.window_start, dtype=torch.int64, device=self.negatives.device)


def make_draws(
    *,
    seed: int,
    device: torch.device,
    dtype: torch.dtype,
    num_crops: int,
    num_frames: int,
    num_window: int,
    num_steps: int,
    num_negatives: int,
    negatives: Negatives,
    num_ranks: int,
    noise_channels: int,
) -> Draws:
    """Draw the window, the negatives and the noise of one pass; the same arguments give the same draws.

    Args:
        seed: 64-bit seed, see `randomness.draw_seed`.
        device: Device of the draws.
        dtype: Type of the noise.
        num_crops: B.
        num_frames: T.
        num_window: W.
        num_steps: K.
        num_negatives: N.
        negatives: Kind of negatives.
        num_ranks: Ranks whose frames make the pool; more than 1 only if the kind pools ranks.
        noise_channels: Channels of ε; 0 draws none.
    """
    # From the hash, not from the generator: reading a number from a GPU would make the CPU wait.
    window_start = splitmix64(seed) % (num_frames - num_window + 1)
    generator = seeded_generator(device, seed)
    sizes = PassSizes(num_crops, num_frames, num_window, window_start, num_steps, num_negatives, num_ranks)
    rows = negatives.draw(sizes, generator)
    eps_z = eps_c = None
    if noise_channels:
        eps_z, eps_c = (
            torch.randn(num_crops, frames, noise_channels, generator=generator, device=device, dtype=dtype)
            for frames in (num_frames, num_window)
        )
    return Draws(window_start, rows, num_ranks > 1, eps_z, eps_c)
