"""Utterances of several lengths in one batch, each encoded as if it were alone.

A convolution of an utterance alone sees zeros behind its end. In a batch that is padded behind, frames behind each end
are therefore set to 0 before every convolution. A GRU reads forward, and sees none of them; one that reads from the end
begins at each utterance's own.

Shapes: B utterances, L samples, T frames, C channels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from vgim.errors import ConfigError
from vgim.model.precision import at_least_fp32
from vgim.model.specs import ConvSpec
from vgim.model.stack import Encoder

Count = TypeVar("Count", int, Tensor)


class EncodedModule(NamedTuple):
    """A module's output for a batch of utterances."""

    latents: Tensor
    """[B, T, C], on the encoder's device; 0 behind an utterance's last frame."""
    lengths: Tensor
    """Frames of each utterance, int64 [B], on the same device."""


def num_frames(convs: Iterable[ConvSpec], num_samples: Count) -> Count:
    """Frames behind convolutions, for numbers of samples or frames before them; 0 for too few."""
    for conv in convs:
        if isinstance(num_samples, int):
            num_samples = conv.num_frames(num_samples)
        else:
            shifts = torch.div(
                num_samples + 2 * conv.padding - conv.kernel, conv.stride, rounding_mode="floor"
            )
            num_samples = (shifts + 1).clamp(min=0)
    return num_samples


def zero_behind(x: Tensor, lengths_B: Tensor) -> Tensor:
    """Samples [B, L] or frames [B, T, C] with 0 in place of what lies behind each row's length."""
    behind_BT = torch.arange(x.shape[1], device=x.device) >= lengths_B[:, None]
    return x.masked_fill(behind_BT if x.ndim == 2 else behind_BT[..., None], 0)


@torch.no_grad()
def encode_padded(
    encoder: Encoder,
    x_BL: Tensor,
    lengths_B: Tensor,
    module: int = -1,
    layer: int | None = None,
    generator: torch.Generator | None = None,
) -> list[EncodedModule]:
    """Outputs of the modules up to one, or to a convolution of it, for utterances that are padded behind.

    Args:
        encoder: In evaluation mode.
        x_BL: Audio, normalized as in training; what lies behind an utterance does not matter.
        lengths_B: Samples of each utterance, int64 on the audio's device.
        module: Index of the last module that is run, counted from the input; -1 is the encoder's last.
        layer: Index of the convolution of that module at which the encoder stops; None for the module's output.
        generator: Source of samples of the posteriors; None for their means.

    Raises:
        ConfigError: There is no such module or layer, or an utterance is too short for it to make a frame.
    """
    last = encoder.module(module)
    if layer is not None:
        layer = last.layer_index(layer)
    needed = encoder.min_samples(last.index, layer)
    if int(lengths_B.min()) < needed:
        row = int(lengths_B.argmin())
        raise ConfigError(
            f"lengths[{row}]={int(lengths_B[row])} makes no frame in module {last.index}; leave out utterances of "
            f"fewer than {needed} samples"
        )
    x = zero_behind(x_BL, lengths_B)
    outputs = []
    for index in range(last.index + 1):
        greedy = encoder.module(index)
        stops = index == last.index and layer is not None
        x = x.to(next(greedy.parameters()).dtype)  # a posterior before it is fp32 whatever the weights are
        for number, conv in enumerate(greedy.spec.convs):
            x = greedy.run_layers(x, slice(number, number + 1))
            lengths_B = num_frames([conv], lengths_B)
            x = zero_behind(x, lengths_B)
            if stops and number == layer:
                break
        if not stops:
            x = zero_behind(greedy.finish(x, generator, lengths_B), lengths_B)
        outputs.append(EncodedModule(at_least_fp32(x), lengths_B))
    return outputs
