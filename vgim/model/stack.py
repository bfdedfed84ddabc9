"""The encoder: a stack of greedy modules, built from the config.

Shapes: B crops, L samples, T frames, C channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vgim.config.schema import ModelConfig, ObjectiveConfig
from vgim.errors import ConfigError
from vgim.model.module import GreedyModule
from vgim.model.randomness import mix
from vgim.model.specs import ConvSpec, ModuleSpec, module_specs
from vgim.text import plural, use_indices


class Encoder(nn.Module):
    """Greedy modules in order; each reads the latents of the module before.

    Names of parameters are stable, for checkpoints: `greedy.<module>.layers.conv<i>.weight`,
    `….layers.norm<i>.weight`, `….head.weight`, `….posterior.weight`, `….posterior_norm.running_mean`,
    `….gru.weight_ih_l0`, `….nce.weight`; of a bidirectional GRU also `….gru.weight_ih_l0_reverse` and
    `….nce_reverse.weight`.
    """

    def __init__(
        self, specs: list[ModuleSpec], model: ModelConfig, objective: ObjectiveConfig, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.greedy = nn.ModuleList()
        for index, spec in enumerate(specs):
            # Each module has its own seed, so that its weights are the same at any depth. Only the state of the CPU's
            # generator changes, and is restored: torch.manual_seed would reseed the GPUs' generators as well.
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(mix("weights", seed, index))
                self.greedy.append(
                    GreedyModule(index, spec, objective, model.batch_norm, model.posterior_norm)
                )

    def __len__(self) -> int:
        return len(self.greedy)

    def module(self, index: int) -> GreedyModule:
        """Module `index`, counted from the input; a negative index counts from the last.

        Raises:
            ConfigError: There is no such module.
        """
        if not -len(self) <= index < len(self):
            raise ConfigError(
                f"module={index} but the encoder has {plural(len(self), 'module')}; {use_indices(len(self))}"
            )
        module = self.greedy[index]
        assert isinstance(module, GreedyModule)
        return module

    @staticmethod
    def prefix(index: int) -> str:
        """How the names of a module's parameters and buffers begin."""
        return f"greedy.{index}."

    @property
    def ranks_communicate(self) -> bool:
        """Whether ranks exchange tensors within a training pass: negatives, or statistics of their batches."""
        pools_ranks = any(self.module(index).nce.negatives.pools_ranks for index in range(len(self)))
        return pools_ranks or "sync" in (self.model.batch_norm, self.model.posterior_norm)

    def module_frames(self, num_samples: int) -> list[int]:
        """Frames of each module's output for a crop of `num_samples`."""
        frames = []
        for index in range(len(self)):
            num_samples = self.module(index).num_frames(num_samples)
            frames.append(num_samples)
        return frames

    def check_crop(self, num_samples: int) -> None:
        """Refuse crops from which a module could not learn.

        Raises:
            ConfigError: A module gets fewer than two frames, or `prediction_steps` names more steps for it than it has
                frames to predict.
        """
        for index, frames in enumerate(self.module_frames(num_samples)):
            if frames < 2:
                raise ConfigError(
                    f"data.crop_samples={num_samples} gives module {index} only frames={frames}, and it "
                    f"needs 2 to predict one from another; use at least {self.module(-1).spec.min_samples}"
                )
            steps, window = (
                self.objective.prediction_steps,
                min(frames, self.objective.window_frames or frames),
            )
            # One number for all modules is meant for the first ones too, which have more frames.
            if isinstance(steps, tuple) and steps[index] >= window:
                raise ConfigError(
                    f"objective.prediction_steps={list(steps)} predicts {steps[index]} frames ahead in module {index}, "
                    f"of which a crop gives {window} frames (data.crop_samples={num_samples}, "
                    f"objective.window_frames={self.objective.window_frames}); use at most {window - 1} there"
                )

    @torch.no_grad()
    def encode(
        self,
        x_BL: Tensor,
        module: int = -1,
        layer: int | None = None,
        deterministic: bool = True,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The output [B, T, C] of a module or layer, without a loss and without a graph.

        Args:
            x_BL: Audio, normalized as in training.
            module: Index of the module; -1 is the last. The output of a module with a GRU is the GRU's.
            layer: Index of a convolution within the module, whose output after BatchNorm and ReLU is returned instead
                of the module's; -1 is the last.
            deterministic: Use μ in every module; else sample, from `generator`.
            generator: On the audio's device; needed unless deterministic.

        Raises:
            ConfigError: There is no such module or layer, or the audio is too short for it to make a frame.
            RuntimeError: The encoder is in training mode, in which BatchNorm would mix the crops of a batch.
        """
        if deterministic == (generator is not None):
            raise ValueError("pass a generator with deterministic=False, and only then")
        last = self.module(module).index
        if layer is not None:
            layer = self.module(last).layer_index(layer)
        if x_BL.shape[1] < (needed := self.min_samples(last, layer)):
            raise ConfigError(
                f"num_samples={x_BL.shape[1]} makes no frame in module {last}; pass audio of at least {needed} samples"
            )
        x = x_BL
        for index in range(last + 1):
            greedy = self.module(index)
            if greedy.training:
                raise RuntimeError("the encoder is in training mode; call encoder.eval() before encode()")
            x = x.to(
                next(greedy.parameters()).dtype
            )  # a posterior before it is fp32 whatever the weights are
            if index == last and layer is not None:
                return greedy.layer(x, layer)
            x = greedy.represent(x, generator)
        return x

    def convs(self, module: int, layer: int | None = None) -> list[ConvSpec]:
        """The convolutions from the audio to the output of a module or layer."""
        greedy = self.module(module)
        own = greedy.spec.convs if layer is None else greedy.spec.convs[: greedy.layer_index(layer) + 1]
        return [conv for index in range(greedy.index) for conv in self.module(index).spec.convs] + list(own)

    def hop_samples(self, module: int, layer: int | None = None) -> int:
        """Samples from one frame to the next in the output of a module or layer."""
        return math.prod(conv.stride for conv in self.convs(module, layer))

    def min_samples(self, module: int, layer: int | None = None) -> int:
        """Fewest samples of which a module or layer makes a frame."""
        num = 1
        for conv in reversed(self.convs(module, layer)):
            num = conv.num_needed(num)
        return num

    def channels(self, module: int, layer: int | None = None) -> int:
        """Channels of the output of a module or layer."""
        greedy = self.module(module)
        return greedy.spec.channels_out if layer is None else greedy.spec.channels


def build_encoder(model: ModelConfig, objective: ObjectiveConfig, seed: int) -> Encoder:
    """The encoder of a config, on the CPU; `seed` decides its weights (torch's default distributions)."""
    return Encoder(module_specs(model), model, objective, seed)
