"""The shape that all probes have, and how features of any hop meet labels of 10 ms.

Shapes: T frames, C channels, N examples.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from vgim.data.pcm import HOP_SAMPLES
from vgim.data.shards.read import Utterance
from vgim.errors import ConfigError


class Examples(NamedTuple):
    """What an utterance gives to learn from."""

    x_NC: Tensor
    y_N: Tensor
    """Class of each, int64."""


class Probe(Protocol):
    """A classification that a linear map has to read off frozen features. Made from the shards' manifest."""

    name: ClassVar[str]
    unit: ClassVar[Literal["frame", "utterance"]]
    """What an example is."""
    crops: ClassVar[bool]
    """Whether it looks at crops, as training does, unless asked for whole utterances."""
    epochs: ClassVar[int]
    """Of the adam solver, as published; so is `learning_rate`."""
    learning_rate: ClassVar[float]

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class."""

    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """The utterance's examples; None where it has no label."""


def mean_over_time(features_TC: Tensor, label: int) -> Examples:
    """One example: the mean over all frames."""
    return Examples(features_TC.mean(0, keepdim=True), torch.tensor([label]))


def per_label(features_TC: Tensor, hop_samples: int, num_labels: int) -> Tensor:
    """Features on the labels' grid, [at most num_labels, C]: the mean of the frames that begin in its 10 ms.

    Raises:
        ConfigError: The frames do not divide 10 ms.
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
    whole = len(features_TC) // ratio
    pooled = features_TC[: whole * ratio].reshape(whole, ratio, -1).mean(1)
    if len(features_TC) % ratio:  # the end of the utterance: the mean of the frames there are
        pooled = torch.cat([pooled, features_TC[whole * ratio :].mean(0, keepdim=True)])
    return pooled


def align(features_TC: Tensor, labels_N: Tensor) -> Examples:
    """Pair frames with labels of the same hop, of which there may be a few more or fewer.

    Where there are more frames, the first are left out, so that both end together, as the published probes of
    Greedy InfoMax do. Where there are more labels, the last are.
    """
    num = min(len(features_TC), len(labels_N))
    return Examples(features_TC[len(features_TC) - num :], labels_N[:num])


def whole_labels(num_samples: int) -> int:
    """Whole 10 ms in so much audio."""
    return math.floor(num_samples / HOP_SAMPLES)
