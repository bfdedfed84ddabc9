"""Frames and posteriors of a config's modules, counted without building them."""

from __future__ import annotations

from vgim.config import RunConfig
from vgim.config.schema import ModelConfig


def frames_of_modules(config: RunConfig) -> list[int]:
    """Frames of each module for the config's crop."""
    model = config.model
    sizes = [len(model.kernels)] if model.family == "cpc" else list(model.layers_per_module)
    layers = list(zip(model.kernels, model.strides, model.paddings, strict=True))
    frames, num_frames = [], config.data.crop_samples
    for size in sizes:
        for kernel, stride, padding in layers[:size]:
            num_frames = max(0, (num_frames + 2 * padding - kernel) // stride + 1)
        del layers[:size]
        frames.append(num_frames)
    frames += frames[-1:] * (model.num_modules - len(frames))  # the GRU
    return frames[: model.num_modules]


def has_posterior(model: ModelConfig, module: int) -> bool:
    """Whether a module has a posterior: the convolutional ones of family sim."""
    return model.family == "sim" and module < len(model.layers_per_module)
