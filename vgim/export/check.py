"""Compares an exported encoder with the encoder that it was made from, by running both.

Shapes: B utterances, L samples, T frames, C channels.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vgim.arrays import F32
from vgim.errors import TrainingError
from vgim.pretrained.encoder import FrozenEncoder

TOLERANCE = 1e-4
"""Largest difference of an output from the encoder's, over the largest of the encoder's values."""
ROUNDINGS = 10.0
"""Where the encoder amplifies rounding, as a GRU with large weights does, its export may differ by this many times as
much as its fp32 from its fp64."""
CAP = 1e-2
"""Largest difference whatever the encoder's rounding is."""

Run = Callable[[F32], Sequence[F32]]
"""Runs an export on float audio [B, L]; returns the output of every module, [B, T, C] each."""


def check_export(run: Run, encoder: FrozenEncoder, what: str, *, min_frames: Literal[1, 2] = 1) -> float:
    """Run an export beside the encoder, on batches and lengths of several sizes.

    Args:
        run: Runs the export.
        encoder: The encoder, on the CPU.
        what: Name of the export in errors.
        min_frames: Fewest frames of the last module that the export makes.

    Returns:
        The largest relative difference.

    Raises:
        TrainingError: An output has another shape, or differs by more than the tolerance and rounding.
    """
    stack = encoder.encoder
    modules = range(len(stack))
    needed = stack.min_samples if min_frames == 1 else lambda index: stack.module(index).spec.min_samples
    shortest = max(needed(index) for index in modules)
    worst = 0.0
    for num_utterances, num_samples in ((1, shortest), (2, shortest + 4_321), (3, shortest + 777)):
        audio_BL = _audio(num_utterances, num_samples)
        outputs = run(audio_BL.numpy())
        for index in modules:
            expected_BTC = encoder(audio_BL, module=index)
            difference = relative_difference(outputs[index], expected_BTC.numpy(), f"{what}: module {index}")
            if not difference <= TOLERANCE:  # NaN too
                refuse_beyond_rounding(difference, encoder, audio_BL, index, f"{what}: module {index}")
            worst = max(worst, difference)
    return worst


def _audio(num_utterances: int, num_samples: int) -> Tensor:
    """Noise of several loudnesses, float32 [B, L]; the same in every call."""
    generator = torch.Generator().manual_seed(num_samples)
    noise_BL = torch.randn(num_utterances, num_samples, generator=generator)
    return noise_BL * torch.logspace(-1.5, -1, num_utterances)[:, None]


def relative_difference(found: F32, wanted: F32, what: str) -> float:
    """Largest difference of two outputs, over the largest value of the second.

    Args:
        found: Output of the export.
        wanted: Output of the encoder.
        what: Name of the output in errors.

    Raises:
        TrainingError: The outputs have different shapes.
    """
    if found.shape != wanted.shape:
        raise TrainingError(
            f"{what} of the export has shape {list(found.shape)} where the encoder's is {list(wanted.shape)}; nothing "
            "was written: report this as a defect of vgim with the run's config"
        )
    return float(np.abs(found - wanted).max() / max(float(np.abs(wanted).max()), 1e-12))


def refuse_beyond_rounding(
    difference: float, encoder: FrozenEncoder, audio_BL: Tensor, module: int, what: str
) -> None:
    """Refuse a difference that the encoder's own rounding does not explain.

    Args:
        difference: Relative difference of the export from the encoder, above the tolerance.
        encoder: The encoder, in fp32.
        audio_BL: Audio that shows the difference.
        module: Index of the module.
        what: Name of the output in errors.

    Raises:
        TrainingError: The encoder's fp32 is nearer to its fp64 than that, or its output is not finite.
    """
    exact_BTC = copy.deepcopy(encoder).double()(audio_BL, module=module).float()
    rounding = relative_difference(encoder(audio_BL, module=module).numpy(), exact_BTC.numpy(), what)
    if not math.isfinite(rounding):
        raise TrainingError(
            f"{what} of the encoder itself has values that are not finite numbers; nothing was written: its weights "
            "are damaged or its training diverged, so export another checkpoint"
        )
    if not difference <= min(max(TOLERANCE, ROUNDINGS * rounding), CAP):
        raise TrainingError(
            f"{what} of the export differs from the encoder's by {difference:.1e} of its largest value, more than "
            f"{TOLERANCE:g} (the encoder's own fp32 differs from fp64 by {rounding:.1e}); nothing was written: report "
            "this as a defect of vgim with the run's config"
        )
