"""Memory that a step needs: a check before the first step, and an error for a step that did not get it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vgim.config import RunConfig
from vgim.errors import ConfigError, TrainingError
from vgim.model.stack import Encoder
from vgim.text import first_line

GIB = 2**30
COPIES = 3
"""Tensors of the size of the scores that a step holds at once: scores, their margins, and a gradient."""


def check_scores_fit(encoder: Encoder, config: RunConfig) -> None:
    """Refuse negatives whose scores alone are larger than this machine's memory, which would end the process silently.

    Raises:
        ConfigError: They are.
    """
    needed, available = scores_bytes(encoder, config), physical_bytes()
    if available and needed > available:
        raise ConfigError(
            f"the scores of objective.num_negatives={config.objective.num_negatives} with train.batch_size="
            f"{config.train.batch_size} need {needed / GIB:.0f} GiB, and this machine has {available / GIB:.0f}; lower "
            "one of them, or objective.window_frames"
        )


def scores_bytes(encoder: Encoder, config: RunConfig) -> int:
    """Bytes of the scores [B, W, K, N + 1] of the module with the most, in fp32, with what is made from them."""
    objective = config.objective
    most = 0
    for m, frames in enumerate(encoder.module_frames(config.data.crop_samples)):
        window = min(frames, objective.window_frames or frames)
        most = max(most, window * min(objective.steps_of_module(m), window - 1))
    return COPIES * 4 * config.train.batch_size * most * (objective.num_negatives + 1)


def physical_bytes() -> int:
    """Memory of this machine; 0 where it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


@contextmanager
def out_of_memory_as_error() -> Iterator[None]:
    """Turn torch's and Python's errors for memory that was refused into one that says what to lower.

    Raises:
        TrainingError: In their place.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        refused = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not refused and not any(
            words in str(error) for words in ("not enough memory", "can't allocate memory")
        ):
            raise
        reason = first_line(error).rpartition("DefaultCPUAllocator: ")[2]
        raise TrainingError(
            f"there is too little memory ({reason}); lower train.batch_size, and raise train.accumulate to keep the "
            "crops of a step, or lower objective.num_negatives or the model's width"
        ) from error
