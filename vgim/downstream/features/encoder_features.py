"""Features that are read from an encoder: a module's latents or context, or one of its convolutions.

Shapes: B clips, L samples, T frames, C channels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from vgim.downstream.features.concatenation import concatenate, num_concatenated
from vgim.downstream.features.source import CLIPS_AT_ONCE, ClipBatch, FeatureSpec
from vgim.downstream.output import Output
from vgim.model.audio import Normalizer
from vgim.model.padded import num_frames
from vgim.model.precision import at_least_fp32
from vgim.model.randomness import mix, seeded_generator
from vgim.model.specs import ConvSpec
from vgim.model.stack import Encoder

BATCH_VALUES = 2**24
"""Most values of a convolution's output for a padded batch, 64 MiB."""


class EncoderOutput(NamedTuple):
    """An output of an encoder that features are read from."""

    module: int
    """Index, counted from the input."""
    layer: int | None = None
    """Convolution of the module, from 0, after BatchNorm and ReLU; None for the module's output."""


@dataclass(frozen=True)
class EncoderFeatures:
    """The feature source of an encoder in evaluation mode.

    A module's output is its latents (μ, or samples), or in a module with a GRU the GRU's context.
    """

    encoder: Encoder
    normalizer: Normalizer
    """Normalization of the encoder's training."""
    outputs: tuple[EncoderOutput, ...]
    """Outputs that features are read from, in the order of depth."""
    sample_seed: int | None = None
    """Seed of samples of every module's posterior; None uses μ."""
    concat: tuple[int, ...] = ()
    """Modules whose outputs are concatenated for one more kind of features, behind the outputs."""

    @property
    def specs(self) -> tuple[FeatureSpec, ...]:
        encoder = self.encoder
        specs = [
            FeatureSpec(o.module, encoder.hop_samples(*o), encoder.channels(*o), o.layer)
            for o in self.outputs
        ]
        if self.concat:
            channels = sum(map(encoder.channels, self.concat))
            hop_samples = max(map(encoder.hop_samples, self.concat))
            specs.append(FeatureSpec(None, hop_samples, channels, concat=self.concat))
        return tuple(specs)

    @property
    def clips_at_once(self) -> int:
        return CLIPS_AT_ONCE if self.sample_seed is None else 1  # samples depend on the utterance alone

    @cached_property
    def padded_samples(self) -> int:
        if self.sample_seed is not None:
            return 0
        return BATCH_VALUES * self.encoder.hop_samples(0, 0) // self.encoder.channels(0, 0)

    def num_frames(self, num_samples: int) -> list[int]:
        frames = {output: num_frames(convs, num_samples) for output, convs in self._convs.items()}
        of_outputs = [frames[output] for output in self.outputs]
        if self.concat:
            of_modules = [frames[EncoderOutput(module)] for module in self.concat]
            of_outputs.append(num_concatenated(self._ratios, of_modules))
        return of_outputs

    @cached_property
    def _computed(self) -> tuple[EncoderOutput, ...]:
        """Outputs that are computed for all kinds of features, in the order of depth."""
        every = {*self.outputs, *map(EncoderOutput, self.concat)}
        return tuple(sorted(every, key=lambda output: Output(*output).depth))

    @cached_property
    def _convs(self) -> dict[EncoderOutput, list[ConvSpec]]:
        """Convolutions before each output."""
        return {output: self.encoder.convs(*output) for output in self._computed}

    @cached_property
    def _ratios(self) -> list[int]:
        """Frames of each concatenated module in a frame of the slowest."""
        hops = [self.encoder.hop_samples(module) for module in self.concat]
        return [max(hops) // hop for hop in hops]

    def identity(self) -> dict[str, object]:
        return {
            "weights": self._weights_sha256,
            "normalize": self.normalizer.mode,
            "corpus": self.normalizer.corpus if self.normalizer.mode == "corpus" else (0.0, 1.0),
            "sample_seed": self.sample_seed,
        }

    @cached_property
    def _weights_sha256(self) -> str:
        digest = hashlib.sha256()
        for name, value in sorted(self.encoder.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def min_samples(self) -> int:
        return max(self.encoder.min_samples(*output) for output in self._computed)

    @torch.no_grad()
    def __call__(self, clips: ClipBatch) -> list[Tensor]:
        device = next(self.encoder.parameters()).device
        x = clips.normalized(self.normalizer, device)
        if clips.lengths is None:
            computed = self._encode(x, clips)
        else:
            computed = self._encode_padded(x, clips.lengths)
        by_output = dict(zip(self._computed, computed, strict=True))
        features = [by_output[output] for output in self.outputs]
        if self.concat:
            modules = [by_output[EncoderOutput(module)] for module in self.concat]
            lengths = [x.shape[1]] * len(x) if clips.lengths is None else clips.lengths
            convs = [self._convs[EncoderOutput(module)] for module in self.concat]
            frames = [[num_frames(of_module, length) for length in lengths] for of_module in convs]
            features.append(concatenate(modules, self._ratios, frames))
        return features

    def _encode(self, x: Tensor, clips: ClipBatch) -> list[Tensor]:
        """Features of normalized clips of one length."""
        device = x.device
        generator = None
        if self.sample_seed is not None:
            seed = mix("probe sample", self.sample_seed, clips.utterances[0].utterance_id)
            generator = seeded_generator(device, seed)
        features = []
        deepest = self._computed[-1]
        for index in range(deepest.module + 1):
            module = self.encoder.module(index)
            if self._computed == (deepest,) and index == deepest.module and deepest.layer is not None:
                return [module.layer(x, deepest.layer).cpu()]  # later convolutions are not needed
            layers = [o.layer for o in self._computed if o.module == index and o.layer is not None]
            inner, x = module.layers_and_output(x, layers, generator)
            features += [layer.cpu() for layer in inner]
            if EncoderOutput(index) in self._computed:
                features.append(x.cpu())
        return features

    def _encode_padded(self, x: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Features of normalized clips that are padded behind.

        A convolution of a clip alone sees zeros behind its end, so frames behind each end are set to zero before every
        convolution. A GRU reads forward, and sees none of them, or begins at each clip's own end.
        """
        x = _silence(x, lengths)
        features = []
        for index in range(self._computed[-1].module + 1):
            module = self.encoder.module(index)
            for layer, conv in enumerate(module.spec.convs):
                lengths = [conv.num_frames(num) for num in lengths]
                x = _silence(module.run_layers(x, slice(layer, layer + 1)), lengths)
                if (index, layer) in self._computed:
                    features.append(at_least_fp32(x).cpu())
                if (index, layer) == self._computed[-1]:
                    return features
            x = _silence(module.finish(x, lengths_B=lengths), lengths)
            if (index, None) in self._computed:
                features.append(x.cpu())
        return features


def _silence(x: Tensor, lengths: Sequence[int]) -> Tensor:
    """Samples [B, L] or frames [B, T, C], set to zero behind each row's length, in place."""
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    return x
