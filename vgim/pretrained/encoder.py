"""A trained encoder as a frozen torch module, for notebooks and for the jobs that come after training.

Shapes: B utterances or crops, L samples, T frames, C channels.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from vgim.config import DecoderConfig, RunConfig
from vgim.config.paths import resolve_run_path
from vgim.errors import CheckpointError, ConfigError
from vgim.model.audio import Normalizer, Statistics
from vgim.model.stack import Encoder, build_encoder
from vgim.pretrained.audio_input import as_batch
from vgim.pretrained.normalization import normalizer_of
from vgim.runs.checkpoint import Checkpoint, best_checkpoint, find_checkpoint
from vgim.runs.weights import load_weights
from vgim.storage import Location


class FrozenEncoder(nn.Module):
    """A trained encoder in evaluation mode, which normalizes audio as its training did.

    Nothing in it asks for gradients.

    Attributes:
        encoder: The modules; their input is normalized audio.
        normalizer: Turns audio into that input.
        config: Config of the run that trained it.
        checkpoint: Where the weights came from.
    """

    def __init__(
        self, encoder: Encoder, normalizer: Normalizer, config: RunConfig, checkpoint: Checkpoint
    ) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self.normalizer = normalizer
        self.config = config
        self.checkpoint = checkpoint

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Stays in evaluation mode: BatchNorm's statistics are part of what was trained."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self,
        audio: Any,
        module: int = -1,
        layer: int | None = None,
        generator: torch.Generator | None = None,
        utterances: Statistics | None = None,
    ) -> Tensor:
        """Latents [B, T, C] of a module: μ, or with a generator a sample of the posterior.

        Args:
            audio: 16 kHz mono as a tensor or NumPy array, int16 PCM or float in [-1, 1]: [B, L], [B, 1, L], or [L]
                for a batch of one. It is moved to the encoder's device.
            module: Index of the module, counted from the input; -1 is the last.
            layer: Index of one of the module's convolutions, whose output after BatchNorm and ReLU is returned
                instead of the module's; -1 is the last convolution.
            generator: Source of the samples of this module and those before it.
            utterances: Mean and standard deviation of the whole utterance of each crop, [B] each. Only an encoder
                with `data.normalize: utterance` reads them; without them each row counts as a whole utterance.

        Raises:
            ValueError: The audio has another type, dtype, shape or range.
            ConfigError: There is no such module or layer, or the audio is too short for one frame.
        """
        weight = next(self.encoder.parameters())
        x_BL = self.normalizer(as_batch(audio).to(weight.device), utterances)
        latents_BTC = self.encoder.encode(
            x_BL, module, layer, deterministic=generator is None, generator=generator
        )
        return latents_BTC.to(weight.dtype)  # a posterior is fp32 whatever the weights are


def load_encoder(
    where: str | os.PathLike[str], *, which: str = "last", device: str | torch.device = "cpu"
) -> FrozenEncoder:
    """Load the encoder of a run, a checkpoint or an export, without Ray.

    Args:
        where: A run, a checkpoint or an exported folder: a path, a URI, or the name of a run under $VGIM_HOME/runs; or
            an encoder on the hub, hf://OWNER/NAME or hf://OWNER/NAME@REVISION.
        which: `last`, or `best` for the checkpoint of lowest validation loss.
        device: Device of the weights.

    Returns:
        The encoder, frozen, in evaluation mode.

    Raises:
        CheckpointError: There is no complete checkpoint, it is damaged, or it was trained with
            `data.normalize: corpus` and neither it nor the run's shards tell the corpus's statistics.

    Example:
        >>> encoder = vgim.load_encoder("runs/quickstart")
        >>> audio = torch.zeros(2, 20_480)  # [B, L], 16 kHz in [-1, 1]
        >>> latents = encoder(audio, module=0)  # [B, T, C]
        >>> latents.shape[0]
        2
    """
    if which not in ("last", "best"):
        raise ValueError(f"which={which!r}; use 'last' or 'best'")
    path = resolve_run_path(os.fspath(where), "where")
    exported = _exported(path)
    if exported is not None:
        from vgim.pretrained.exported import load_exported

        return load_exported(exported, device)
    checkpoint = best_checkpoint(path) if which == "best" else find_checkpoint(path)
    config = _encoder_config(checkpoint)
    encoder = build_encoder(config.model, config.objective, config.train.seed)
    load_weights(checkpoint, encoder)
    return FrozenEncoder(encoder, normalizer_of(checkpoint, config), config, checkpoint).to(device)


def _exported(path: str) -> Location | None:
    """The exported folder of a path or URI, pulled if it is on the hub; None for a run or a checkpoint."""
    from vgim.pretrained.exported import is_export
    from vgim.pretrained.hub import HUB, pull

    if path.startswith(HUB):
        return pull(path)
    folder = Location(path)
    return folder if is_export(folder) else None


def _encoder_config(checkpoint: Checkpoint) -> RunConfig:
    try:
        return checkpoint.config()
    except ConfigError:
        try:
            checkpoint.config(DecoderConfig)
        except ConfigError:
            pass
        else:
            raise CheckpointError(
                f"{checkpoint.location.uri} is a decoder's checkpoint; load it with vgim.load_decoder, which has its "
                "encoder as .encoder, or name the encoder's run"
            ) from None
        raise
