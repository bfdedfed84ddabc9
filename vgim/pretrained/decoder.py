"""A trained decoder and the encoder it belongs to, frozen, for notebooks and for the jobs that come after training."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from vgim.config import DecoderConfig
from vgim.config.arguments import path_text
from vgim.config.paths import resolve_run_path
from vgim.errors import CheckpointError, ConfigError
from vgim.model.audio import Normalizer
from vgim.model.decoding import Decoder, without_pointwise
from vgim.model.stack import Encoder
from vgim.pretrained.choices import Device
from vgim.pretrained.device import find_device
from vgim.pretrained.encoder import FrozenEncoder, load_encoder
from vgim.pretrained.latent_input import as_latents, as_num_samples
from vgim.pretrained.normalization import normalizer_of
from vgim.runs.checkpoint import Checkpoint, best_checkpoint, find_checkpoint
from vgim.runs.layout import DECODERS, RECORD, STATE
from vgim.runs.weights import load_tensors
from vgim.storage import Location

ENCODER = "encoder"
"""RUN/decoder/NAME is a decoder's folder; RUN/decoder/NAME/encoder is the checkpoint whose latents it decodes."""


class FrozenDecoder(nn.Module):
    """A trained decoder in evaluation mode; nothing in it asks for gradients, though they flow through it.

    Attributes:
        config: config of the run that trained it.
        encoder: the encoder whose latents it decodes, as it was then.
        normalizer: the normalization of the audio that it was trained to make; `normalizer.invert` undoes it.
        module, layer: which of its latents; layer is None for the module's own.
        checkpoint: where the weights came from.
    """

    def __init__(
        self,
        decoder: Decoder,
        encoder: FrozenEncoder,
        normalizer: Normalizer,
        config: DecoderConfig,
        checkpoint: Checkpoint,
    ) -> None:
        super().__init__()
        self.decoder = decoder.eval().requires_grad_(False)
        self.encoder = encoder
        self.normalizer = normalizer
        self.config = config
        self.checkpoint = checkpoint
        self.module: int = config.encoder.module
        self.layer = layer_of(config)

    def forward(self, latents: Any, num_samples: int | None = None) -> Tensor:
        """Audio [B, num_samples] of latents, 16 kHz float, normalized as the encoder's training was.

        Args:
            latents: A tensor or NumPy array [B, T, C], or [T, C] for a batch of one. It is moved to the decoder's
                device and dtype.
            num_samples: Length of the audio that the latents are of; None takes frames · hop, or the nearest.

        Raises:
            TypeError: The latents are neither a tensor nor an array, or `num_samples` is no whole number.
            ValueError: The latents have another dtype or shape, no frames, or values that are not finite.
            ConfigError: The encoder makes another number of frames of so many samples.
        """
        latents_BTC = as_latents(latents, self.encoder.encoder.channels(self.module, self.layer))
        weight = next(self.decoder.parameters())
        audio_BL: Tensor = self.decoder(latents_BTC.to(weight), as_num_samples(num_samples))
        return audio_BL


def load_decoder(
    where: str | os.PathLike[str], *, which: str = "last", device: Device | str | torch.device = "cpu"
) -> FrozenDecoder:
    """Load a decoder and its encoder, without Ray.

    Args:
        where: A decoder's folder, or its encoder's run if that has one decoder: a path, a URI, or the name of a run
            under $VGIM_HOME/runs.
        which: `last`, or `best` for the checkpoint of lowest validation loss.
        device: Device of the weights; `auto` is a GPU where torch sees one.

    Returns:
        The decoder, frozen, in evaluation mode, with its encoder as `.encoder`.

    Raises:
        CheckpointError: There is no decoder, more than one, or it is damaged.
        ConfigError: `where` is no path, URI or name, or there is no such device.

    Example:
        >>> decoder = vgim.load_decoder("runs/quickstart")
        >>> latents = decoder.encoder(torch.zeros(1, 5_120), decoder.module)  # [B, T, C]
        >>> decoder(latents, 5_120).shape  # [B, L]
        torch.Size([1, 5120])
    """
    if which not in ("last", "best"):
        raise ValueError(f"which={which!r}; use 'last' or 'best'")
    on_device = find_device(device)
    folder = find_decoder(Location(resolve_run_path(path_text(where, "where"), "where")))
    checkpoint = best_checkpoint(folder.uri) if which == "best" else find_checkpoint(folder.uri)
    config = checkpoint.config(DecoderConfig)
    encoder = load_encoder(folder.child(ENCODER).uri)
    decoder = build_decoder(config, encoder.encoder)
    load_tensors(checkpoint, decoder)
    normalizer = normalizer_of(checkpoint, config)
    return FrozenDecoder(decoder, encoder, normalizer, config, checkpoint).to(on_device)


def build_decoder(config: DecoderConfig, encoder: Encoder) -> Decoder:
    """The decoder of a config on the CPU, its weights drawn from `train.seed`.

    Raises:
        ConfigError: `decoder.mirror_pointwise: false` leaves no convolution to mirror.
    """
    module, layer, settings = config.encoder.module, layer_of(config), config.decoder
    convs = encoder.convs(module, layer)
    mirrored = convs if settings.mirror_pointwise else without_pointwise(convs)
    if not mirrored:
        raise ConfigError(
            f"decoder.mirror_pointwise=false, but module {module} has only 1×1 convolutions; set it to true"
        )
    channels_in = encoder.channels(module, layer)
    return Decoder(mirrored, channels_in, settings.channels, config.train.seed, settings.extra_layers)


def layer_of(config: DecoderConfig) -> int | None:
    """The convolution whose output is decoded; None for the module's latents."""
    return None if config.encoder.layer < 0 else config.encoder.layer


def list_decoders(run: Location) -> list[str]:
    """Names of a run's decoders that have a checkpoint's encoder beside them, whether they are trained or not."""
    folder = run.child(DECODERS)
    return [name for name in folder.list() if folder.child(name, ENCODER, STATE).exists()]


def find_decoder(where: Location, name: str | None = None) -> Location:
    """The folder of a decoder: `where` itself, or the named or only one of the run `where`.

    Raises:
        CheckpointError: there is none of that name, or none or several.
    """
    if name is None and where.child(ENCODER, STATE).exists():
        return where
    names = list_decoders(where)
    if name is None and len(names) == 1:
        name = names[0]
    if name in names:
        return where.child(DECODERS, str(name))
    if not names:
        for half in where.child(DECODERS).list():
            missing = where.child(DECODERS, half, ENCODER, STATE)
            if where.child(DECODERS, half, RECORD).exists():
                raise CheckpointError(
                    f"{where.uri} has no whole decoder: {missing.uri} is missing; put it back from a copy, or "
                    "train the decoder again with `vgim decode train`"
                )
        raise CheckpointError(
            f"{where.uri} has no decoder; train one with `vgim decode train`, or name a folder {DECODERS}/NAME of a run"
        )
    problem = f"has no decoder {name}" if name else f"has {len(names)} decoders"
    raise CheckpointError(f"{where.uri} {problem}; name one of {', '.join(names)}")
