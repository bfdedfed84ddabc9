"""Layers, sizes and parameters of an encoder, from its config alone; importable without torch.

Readers of a run need these numbers and not the weights, and torch takes seconds to import.
"""

from __future__ import annotations

from typing import NamedTuple

from vgim.config import RunConfig
from vgim.config.schema import ModelConfig
from vgim.model.losses import loss_facts


class ConvSpec(NamedTuple):
    """Kernel size, stride and zero padding of a convolution, in its own input's frames."""

    kernel: int
    stride: int
    padding: int

    def num_frames(self, num_in: int) -> int:
        """Frames of the output for `num_in` frames or samples of input; 0 if the input is too short."""
        return max(0, (num_in + 2 * self.padding - self.kernel) // self.stride + 1)

    def num_padded(self, num_frames: int) -> int:
        """Input frames, padding included, of which `conv_of_padded` makes `num_frames`."""
        return (num_frames + -(-self.kernel // self.stride) - 1) * self.stride

    def num_needed(self, num_frames: int) -> int:
        """Fewest input frames or samples of which the convolution makes `num_frames`."""
        return max(1, (num_frames - 1) * self.stride + self.kernel - 2 * self.padding)


class ModuleSpec(NamedTuple):
    """Layers and sizes of one module."""

    convs: tuple[ConvSpec, ...]
    """Convolutions; empty for a module that is a GRU alone."""
    channels_in: int
    """Channels of the input; 1 if the module reads audio."""
    channels: int
    """Channels of the convolutions, or of the latents that the GRU reads."""
    gru_units: int
    """Units of the GRU; 0 for none."""
    posterior: bool
    """Whether the latents are Gaussian."""
    min_samples: int
    """Samples of the shortest crop of which the module makes two frames."""
    relus: tuple[bool, ...] = ()
    """Whether BatchNorm and ReLU follow each convolution; empty for all."""
    preemphasis: float = 0.0
    """Coefficient of the filter before the first convolution of a module that reads audio; 0 for none."""
    head: bool = False
    """Whether a linear map of the last convolution's output makes the latents, without a posterior."""
    gru_bidirectional: bool = False
    """Whether a second GRU reads the latents from the end."""
    posterior_norm: bool = False
    """Whether the posterior is normalized over the data."""

    @property
    def channels_out(self) -> int:
        """Channels of the module's output."""
        return self.gru_units * (1 + self.gru_bidirectional) or self.channels

    @property
    def output_is_a_layer(self) -> bool:
        """Whether the last convolution's output is the module's: no head, posterior or GRU follows."""
        return bool(self.convs) and not (self.head or self.posterior or self.gru_units)

    @property
    def inner_layers(self) -> range:
        """Indices of the convolutions, without the last one if its output is the module's own."""
        return range(len(self.convs) - self.output_is_a_layer)


class ParameterCounts(NamedTuple):
    """Parameters of an encoder."""

    encoder: int
    """Parameters without those of the contrastive losses."""
    predictors: int
    """Parameters of the contrastive losses."""


def module_specs(model: ModelConfig) -> list[ModuleSpec]:
    """Layers and sizes of each module, of the first `depth` ones if it is set."""
    layers = [ConvSpec(*sizes) for *sizes, _ in model.convolutions]
    relus = tuple(relu for *_, relu in model.convolutions)
    sizes = [len(layers)] if model.family == "cpc" else list(model.module_sizes)
    specs = []
    first = 0
    for size in sizes:
        specs.append(
            ModuleSpec(
                convs=tuple(layers[first : first + size]),
                channels_in=1 if first == 0 else model.channels,
                channels=model.channels,
                gru_units=model.gru_units if model.family == "cpc" else 0,
                posterior=model.family == "sim",
                min_samples=_samples_for_frames(2, layers[: first + size]),
                relus=() if all(relus) else relus[first : first + size],
                preemphasis=model.preemphasis if first == 0 else 0.0,
                head=model.head == "linear",
                gru_bidirectional=model.gru_bidirectional and model.family == "cpc" and model.gru_units > 0,
                posterior_norm=model.family == "sim" and model.posterior_norm != "none",
            )
        )
        first += size
    if model.family != "cpc" and model.gru_units:
        specs.append(
            ModuleSpec(
                convs=(),
                channels_in=model.channels,
                channels=model.channels,
                gru_units=model.gru_units,
                posterior=False,
                min_samples=_samples_for_frames(2, layers),
                gru_bidirectional=model.gru_bidirectional,
            )
        )
    return specs[: model.depth or len(specs)]


def frames_of_modules(config: RunConfig) -> list[int]:
    """Frames of each module for the config's crop."""
    num_frames, frames = config.data.crop_samples, []
    for spec in module_specs(config.model):
        for conv in spec.convs:
            num_frames = conv.num_frames(num_frames)
        frames.append(num_frames)
    return frames


def _samples_for_frames(num_frames: int, layers: list[ConvSpec]) -> int:
    for layer in reversed(layers):
        num_frames = layer.num_needed(num_frames)
    return num_frames


def count_parameters(config: RunConfig) -> ParameterCounts:
    """How many parameters the encoder of a config has."""
    objective, loss = config.objective, loss_facts(config.objective.loss)
    encoder = predictors = 0
    for m, spec in enumerate(module_specs(config.model)):
        channels, gru = spec.channels, spec.gru_units
        channels_in = spec.channels_in
        for conv, normed in zip(spec.convs, spec.relus or (True,) * len(spec.convs), strict=True):
            encoder += channels_in * channels * conv.kernel
            # A bias, or BatchNorm's scale and shift instead.
            encoder += 2 * channels if normed and config.model.batch_norm != "none" else channels
            channels_in = channels
        encoder += channels * (channels + 1) * (spec.head + 2 * spec.posterior)  # μ and log σ²
        directions = 1 + spec.gru_bidirectional
        encoder += (
            directions * 3 * gru * (channels + gru + 2) if gru else 0
        )  # three gates with two biases each
        predictors += directions * loss.num_parameters(
            objective, objective.steps_of_module(m), gru or channels, channels
        )
    return ParameterCounts(encoder, predictors)
