"""The decoder: an encoder's convolutions, transposed, in reverse, from latents back to audio.

Shapes: B crops, L samples, T frames, C channels in, D channels out, K kernel, S stride, J blocks under a kernel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vgim.errors import ConfigError
from vgim.model.conv import conv_channels_last
from vgim.model.randomness import mix
from vgim.model.specs import ConvSpec

EXTRA = ConvSpec(kernel=3, stride=1, padding=1)
"""A layer behind a transposed convolution, which keeps the length."""


def without_pointwise(convs: Sequence[ConvSpec]) -> tuple[ConvSpec, ...]:
    """The convolutions that see more than one frame; a 1×1 convolution of stride 1 changes no length."""
    return tuple(conv for conv in convs if conv != ConvSpec(kernel=1, stride=1, padding=0))


class Decoder(nn.Module):
    """Transposed convolutions `deconv<i>`, each the mirror of the encoder's convolution i, with ReLU between.

    Behind each of them are `extra_layers` transposed convolutions `extra<i>_<j>` of width 3 and stride 1, also with
    ReLU between.

    The output of a transposed convolution may have any of `stride` lengths, because the latents do not tell how many
    samples the encoder cut off. Here every layer gets the length that it had in the encoder, so that the audio's
    length is exact.

    Args:
        convs: The encoder's convolutions, from the audio on.
        channels_in: Channels of the latents.
        channels: Channels between the layers.
        seed: Seed of the first weights.
        extra_layers: Layers of width 3 behind each transposed convolution.
    """

    def __init__(
        self, convs: Sequence[ConvSpec], channels_in: int, channels: int, seed: int, extra_layers: int = 0
    ) -> None:
        super().__init__()
        self.convs = tuple(convs)
        self.extra_layers = extra_layers
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(mix("decoder", seed))
            for i in reversed(range(len(self.convs))):
                first, last = i == len(self.convs) - 1, i == 0
                spec = self.convs[i]
                deconv = nn.ConvTranspose1d(
                    channels_in if first else channels, 1 if last and not extra_layers else channels, *spec
                )
                self.add_module(f"deconv{i}", deconv)
                for j in range(extra_layers):
                    makes_audio = last and j == extra_layers - 1
                    extra = nn.ConvTranspose1d(channels, 1 if makes_audio else channels, *EXTRA)
                    self.add_module(f"extra{i}_{j}", extra)

    def num_frames(self, num_samples: int) -> int:
        """Frames that the encoder makes of `num_samples` samples."""
        return self._lengths(num_samples)[-1]

    def natural_samples(self, num_frames: int) -> int:
        """Samples of which the encoder makes `num_frames` frames: frames · hop if that fits, else the fewest."""
        hop, least = 1, num_frames
        for conv in reversed(self.convs):
            least, hop = conv.num_needed(least), hop * conv.stride
        return max(least, num_frames * hop) if self.num_frames(num_frames * hop) == num_frames else least

    def forward(self, latents_BTC: Tensor, num_samples: int | None = None) -> Tensor:
        """Latents → audio [B, num_samples], as float32 in the units that the encoder was trained on.

        Args:
            num_samples: Length of the audio that was encoded; None uses `natural_samples`.

        Raises:
            ConfigError: The encoder makes another number of frames of `num_samples` samples.
        """
        num_frames = latents_BTC.shape[1]
        if num_samples is None:
            num_samples = self.natural_samples(num_frames)
        lengths = self._lengths(num_samples)
        if lengths[-1] != num_frames or not num_frames:
            raise ConfigError(
                f"num_samples={num_samples} makes {lengths[-1]} frames, but the latents have {num_frames}; pass the "
                f"length of the audio they are of, such as {self.natural_samples(max(1, num_frames))}"
            )
        x_BTC = latents_BTC
        for i in reversed(range(len(self.convs))):
            x_BTC = transposed(x_BTC, *self._layer(f"deconv{i}"), self.convs[i], lengths[i])
            for j in range(self.extra_layers):
                weight_CDK, bias_D = self._layer(f"extra{i}_{j}")
                # At stride 1 this is a convolution with the kernel turned around, which is faster.
                weight_DCK = weight_CDK.flip(2).transpose(0, 1)
                x_BTC = conv_channels_last(F.relu(x_BTC, inplace=True), weight_DCK, bias_D, EXTRA)
            if i:
                x_BTC = F.relu(x_BTC, inplace=True)
        return x_BTC[..., 0].float()

    def _layer(self, name: str) -> tuple[Tensor, Tensor]:
        """Weight [C, D, K] and bias [D] of a layer."""
        layer = self.get_submodule(name)
        assert isinstance(layer, nn.ConvTranspose1d)
        assert layer.bias is not None
        return layer.weight, layer.bias

    def _lengths(self, num_samples: int) -> list[int]:
        """Samples of the audio, then frames of each convolution's output."""
        lengths = [num_samples]
        for conv in self.convs:
            lengths.append(conv.num_frames(lengths[-1]))
        return lengths


def transposed(x_BTC: Tensor, weight_CDK: Tensor, bias_D: Tensor, conv: ConvSpec, length: int) -> Tensor:
    """`F.conv_transpose1d` of frames as rows, with the output padding that makes `length` frames: [B, length, D].

    One matrix product makes the K output frames of each input frame; blocks of a stride are added where they overlap.
    On a CPU this is several times as fast as torch's own function.

    Args:
        x_BTC: Frames.
        weight_CDK: Kernel.
        bias_D: Bias.
        conv: The convolution to mirror, which makes T frames of `length`.
        length: Frames of the output.
    """
    B, T, C = x_BTC.shape
    D, stride = weight_CDK.shape[1], conv.stride
    J = -(-conv.kernel // stride)
    padded_CDK = F.pad(weight_CDK, (0, J * stride - conv.kernel))
    weight_CX = padded_CDK.transpose(1, 2).reshape(C, J * stride * D)
    blocks_BTJX = (x_BTC @ weight_CX).view(B, T, J, stride * D)
    y_BTX = blocks_BTJX[:, :, 0]
    if J > 1:
        y_BTX = F.pad(y_BTX, (0, 0, 0, J - 1))
        for j in range(1, J):
            y_BTX = y_BTX + F.pad(blocks_BTJX[:, :, j], (0, 0, j, J - 1 - j))
    y_BLD = y_BTX.reshape(B, -1, D)[:, conv.padding : conv.padding + length]
    return F.pad(y_BLD, (0, 0, 0, length - y_BLD.shape[1])) + bias_D
