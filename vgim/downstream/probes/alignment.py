"""Frames of any hop meet labels of 10 ms.

Shapes: T frames, C channels, N labels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vgim.arrays import I64
from vgim.data.corpora.phone_labels import Phones
from vgim.data.pcm import HOP_SAMPLES
from vgim.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

NO_LABEL = -1
"""Class of a frame without a label."""


def mean_per_label(features_TC: Tensor, hop_samples: int, num_labels: int) -> Tensor:
    """Average the frames that begin in the 10 ms of each label, [at most num_labels, C].

    Args:
        hop_samples: Samples between two frames.

    Raises:
        ConfigError: 10 ms are not a whole number of frames.
    """
    if HOP_SAMPLES % hop_samples:
        raise ConfigError(
            f"frames of {hop_samples} samples do not fit labels of {HOP_SAMPLES} samples; probe a module whose "
            f"strides multiply to a divisor of {HOP_SAMPLES}"
        )
    ratio = HOP_SAMPLES // hop_samples
    features_TC = features_TC[: num_labels * ratio]
    if ratio == 1:
        return features_TC
    num_whole = len(features_TC) // ratio
    pooled = features_TC[: num_whole * ratio].reshape(num_whole, ratio, -1).mean(1)
    if len(features_TC) % ratio:  # the utterance ends within a label
        import torch

        pooled = torch.cat([pooled, features_TC[num_whole * ratio :].mean(0, keepdim=True)])
    return pooled


def align(features_TC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Pair frames with labels of the same hop; their numbers may differ by a few.

    Surplus frames are dropped at the start, so that frames and labels end together, as in the published probes of
    Greedy InfoMax. Surplus labels are dropped at the end.

    Returns:
        Features [N, C] and labels [N].
    """
    num = min(len(features_TC), len(labels_N))
    return features_TC[len(features_TC) - num :], labels_N[:num]


def label_each_frame(labels_N: Phones, num_samples: int, num_frames: int, hop_samples: int) -> I64:
    """Give each frame the label in whose 10 ms it begins, paired as by `align`, [T]; NO_LABEL where there is none.

    Args:
        num_samples: Length of the utterance.
    """
    slot_T = np.arange(num_frames) * hop_samples // HOP_SAMPLES
    num_slots = min(int(slot_T[-1]) + 1 if num_frames else 0, num_whole_labels(num_samples))
    index_T = slot_T - max(0, num_slots - len(labels_N))
    labeled_T = (index_T >= 0) & (index_T < len(labels_N)) & (slot_T < num_whole_labels(num_samples))
    return np.where(labeled_T, labels_N[np.clip(index_T, 0, len(labels_N) - 1)], NO_LABEL)


def num_whole_labels(num_samples: int) -> int:
    """Whole 10 ms in an utterance."""
    return num_samples // HOP_SAMPLES
