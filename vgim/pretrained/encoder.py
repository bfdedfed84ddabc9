"""A trained encoder as a frozen torch module, for notebooks and for the jobs that come after training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vgim.config import RunConfig
from vgim.model.audio import to_float
from vgim.model.stack import Encoder, build_encoder
from vgim.runs.checkpoint import Checkpoint, best, find, load_weights


class FrozenEncoder(nn.Module):
    """A trained encoder in evaluation mode; nothing in it asks for gradients.

    Attributes:
        encoder: the modules.
        config: config of the run that trained it.
        checkpoint: where the weights came from.
    """

    def __init__(self, encoder: Encoder, config: RunConfig, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self.config = config
        self.checkpoint = checkpoint

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in evaluation mode: BatchNorm's statistics are part of what was trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        audio_BL: Tensor,
        module: int = -1,
        layer: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Latents [B, T, C] of a module: μ, or with a generator a sample of the posterior.

        Args:
            audio_BL: 16 kHz mono [B, L], int16 or float in [-1, 1]; for `data.normalize` other than none, float
                that was normalized in the same way.
            module: which; -1 is the last.
            layer: one of the module's convolutions, after BatchNorm and ReLU, instead of its output; -1 is its last.
            generator: of the samples of this module and those before it.
        """
        x_BL = to_float(audio_BL, "none")
        deterministic = generator is None
        return self.encoder.encode(x_BL, module, layer, deterministic=deterministic, generator=generator)


def load_encoder(where: str, *, which: str = "last", device: str | torch.device = "cpu") -> FrozenEncoder:
    """Load the encoder of a run or of a checkpoint, without Ray.

    Args:
        where: a run's folder or a checkpoint's, a path or a URI.
        which: `last`, or `best` for the lowest validation loss of a run.

    Raises:
        CheckpointError: there is no complete checkpoint, or it is damaged.
    """
    if which not in ("last", "best"):
        raise ValueError(f"which={which!r}; use 'last' or 'best'")
    checkpoint = best(where) if which == "best" else find(where)
    config = checkpoint.config()
    encoder = build_encoder(config.model, config.objective, config.train.seed)
    load_weights(checkpoint, encoder)
    return FrozenEncoder(encoder, config, checkpoint).to(device)
