"""All that is random in one forward pass of one module, drawn ahead of it.

Drawing first keeps the pass itself a function of its inputs: tests fix the draws, torch.compile sees no
generator, and the draws depend on the key alone.

Shapes: B crops, T frames, W window frames, C channels, K prediction steps, N negatives.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from vgim.model.randomness import seeded_generator, splitmix64

Negatives = Literal["batch", "sequence", "exact", "global"]


class Draws(NamedTuple):
    """The window, the negatives and the noise of one forward pass."""

    window_start: int | Tensor
    """First frame of the window that gives contexts and positives. As a tensor, [], it may change between replays
    of a CUDA graph."""
    negatives: Tensor
    """[1 or K, B, W, N]: rows of the pool [B·T, C] that serve as negatives for the context at a window
    frame. The first axis has 1 entry where one draw serves all steps k, else one per step."""
    pooled: bool
    """Whether the pool is all ranks' frames (`negatives: global`): rank r's rows start at r·B·T."""
    eps_z: Tensor | None
    """[B, T, C]: noise of the targets z; None uses μ, or the module has no posterior."""
    eps_c: Tensor | None
    """[B, W, C]: noise of the contexts c, independent of the targets' and drawn for the window alone."""

    @property
    def num_window(self) -> int:
        """Frames of the window."""
        return self.negatives.shape[2]

    def window(self, x_BTC: Tensor) -> Tensor:
        """The window's frames of a module's frames: [B, W, C]."""
        if self.num_window == x_BTC.shape[1]:
            return x_BTC
        if isinstance(self.window_start, Tensor):
            frames = self.window_start + torch.arange(self.num_window, device=x_BTC.device)
            return x_BTC.index_select(1, frames)
        return x_BTC[:, self.window_start : self.window_start + self.num_window]

    def start_on_device(self) -> Tensor:
        """The window's first frame as a tensor, [] int64."""
        if isinstance(self.window_start, Tensor):
            return self.window_start
        # Filled there: a number that is copied to a GPU has to be waited for.
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
    """Draws for one pass; the same arguments give the same draws.

    Args:
        seed: 64-bit seed, see `randomness.draw_seed`.
        num_ranks: Ranks whose frames make the pool (more than 1 only for "global").
        noise_channels: Channels of ε; 0 draws none.
    """
    # Straight from the hash: a generator on a GPU would have to be waited for.
    window_start = splitmix64(seed) % (num_frames - num_window + 1)
    rng = seeded_generator(device, seed)
    B, T, W = num_crops, num_frames, num_window
    num_draws = num_steps if negatives == "exact" else 1
    shape = (num_draws, B, W, num_negatives)

    def uniform(high: int) -> Tensor:
        return torch.randint(high, shape, generator=rng, device=device)

    if negatives == "sequence":
        rows = uniform(T) + torch.arange(B, device=device)[:, None, None] * T
    elif negatives == "exact":
        # Uniform over all rows but the positive's: draw from one fewer and step over it. Where t + k leaves
        # the window the row is never used.
        k = torch.arange(1, num_steps + 1, device=device)[:, None, None, None]
        b = torch.arange(B, device=device)[:, None, None]
        w = torch.arange(W, device=device)[:, None]
        positive = b * T + window_start + w + k
        rows = uniform(B * T - 1)
        rows = (rows + (rows >= positive)).clamp_(max=B * T - 1)
    else:
        rows = uniform(num_ranks * B * T)
    eps_z = eps_c = None
    if noise_channels:
        eps_z = torch.randn(B, T, noise_channels, generator=rng, device=device, dtype=dtype)
        eps_c = torch.randn(B, W, noise_channels, generator=rng, device=device, dtype=dtype)
    return Draws(window_start, rows, num_ranks > 1, eps_z, eps_c)
