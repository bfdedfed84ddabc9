"""Base classes of probes: a subclass says which labels it reads, and its base makes examples of them.

Shapes: T frames, C channels, N examples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from vgim.arrays import I64
from vgim.data.corpora.phone_labels import Phones
from vgim.data.shards.manifest import Manifest
from vgim.downstream.probes.alignment import (
    NO_LABEL,
    align,
    label_each_frame,
    mean_per_label,
    num_whole_labels,
)
from vgim.downstream.probes.registry import ExampleUnit

if TYPE_CHECKING:  # whoever reads what a probe's classes are needs no torch
    from torch import Tensor

    from vgim.data.shards.read import Utterance


class Examples(NamedTuple):
    """Labeled features, for a linear classifier."""

    x_NC: Tensor
    y_N: Tensor
    """Class of each example, int64."""


class Probe(ABC):
    """A classification that a linear map has to read off frozen features.

    A subclass of `UtteranceProbe` or `FrameProbe`, in a file of its own and listed in `registry.py`, is all that a
    new probe needs.
    """

    name: str
    """The probe's key in the registry, or the column of a table."""
    unit: ClassVar[ExampleUnit]
    """Whether an example is a frame of 10 ms or an utterance."""
    is_fitted: ClassVar[bool] = True
    """Whether a classifier is fitted to the examples; else they are compared as they are."""
    uses_crops: ClassVar[bool] = False
    """Whether an utterance is cut to a crop, as in training, unless the user asks for whole utterances."""
    epochs: ClassVar[int]
    """Epochs of the adam solver, as published."""
    learning_rate: ClassVar[float]
    """Learning rate of the adam solver, as published."""
    class_parts: ClassVar[Mapping[str, Callable[[str], str]]] = {}
    """Coarser classifications that a class's name decides, such as the consonant of a syllable."""
    labels_digest: str = ""
    """Hash of labels that are neither in the shards nor beside them."""
    cluster_of: Mapping[str, str] | None = None
    """Utterance id → its cluster, such as the speaker, where labels are alike within clusters; None elsewhere."""
    notes: tuple[str, ...] = ()
    """What to know of the labels, a sentence each."""

    def __init__(self, manifest: Manifest) -> None:
        self.classes = self.find_classes(manifest)
        """Name of each class."""

    @classmethod
    @abstractmethod
    def find_classes(cls, manifest: Manifest) -> tuple[str, ...]:
        """Names of the classes in these shards.

        Raises:
            DataError: The shards have no labels for the probe.
        """

    def is_labeled(self, utterance: Utterance) -> bool:
        """Whether the utterance is worth encoding; without a label it gives no example."""
        return True

    def problem_of_splits(self, manifest: Manifest) -> str | None:
        """Why what is learned on train says nothing of test, with the fix; None if it does."""
        return None

    @abstractmethod
    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """Examples of an utterance; None where it has no label.

        Args:
            features_TC: Frozen features of the utterance, or of its crop.
            hop_samples: Samples between two frames.
        """

    @classmethod
    @abstractmethod
    def pool(cls, features_TC: Tensor, hop_samples: int, num_samples: int) -> Tensor:
        """The features [N, C] of an utterance's examples, whatever their labels.

        Args:
            features_TC: Frozen features of the utterance, or of its crop.
            hop_samples: Samples between two frames.
            num_samples: Length of the whole utterance.
        """

    @abstractmethod
    def frame_labels(self, utterance: Utterance, num_frames: int, hop_samples: int) -> I64:
        """Class of each frame of a whole utterance, [T]; NO_LABEL where a frame has no label."""


class UtteranceProbe(Probe):
    """Base of probes with one label an utterance: its example is the mean of the features over time."""

    unit = "utterance"
    epochs = 50
    learning_rate = 1e-3

    @abstractmethod
    def label(self, utterance: Utterance) -> int | None:
        """Class of the utterance; None where it has no label."""

    def is_labeled(self, utterance: Utterance) -> bool:
        """Whether the utterance has a class."""
        return self.label(utterance) is not None

    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """One example."""
        label = self.label(utterance)
        return None if label is None else mean_over_time(features_TC, label)

    @classmethod
    def pool(cls, features_TC: Tensor, hop_samples: int, num_samples: int) -> Tensor:
        """The mean over time."""
        return mean_over_time(features_TC, 0).x_NC

    def frame_labels(self, utterance: Utterance, num_frames: int, hop_samples: int) -> I64:
        """The utterance's class for every frame."""
        label = self.label(utterance)
        return np.full(num_frames, NO_LABEL if label is None else label)


class FrameProbe(Probe):
    """Base of probes with a label every 10 ms: an example is the mean of the frames that begin in a label's 10 ms."""

    unit: ClassVar[ExampleUnit] = "frame"
    epochs = 20
    learning_rate = 1e-4

    @abstractmethod
    def labels(self, utterance: Utterance) -> Phones | None:
        """Class of every 10 ms; None where the utterance has no labels."""

    def examples(self, utterance: Utterance, features_TC: Tensor, hop_samples: int) -> Examples | None:
        """One example for each label."""
        labels_N = self.labels(utterance)
        if labels_N is None:
            return None
        import torch

        features_NC = self.pool(features_TC, hop_samples, len(utterance.audio))
        return Examples(*align(features_NC, torch.from_numpy(labels_N).long()))

    @classmethod
    def pool(cls, features_TC: Tensor, hop_samples: int, num_samples: int) -> Tensor:
        """The mean of the frames that begin in each 10 ms."""
        return mean_per_label(features_TC, hop_samples, num_whole_labels(num_samples))

    def frame_labels(self, utterance: Utterance, num_frames: int, hop_samples: int) -> I64:
        """The label in whose 10 ms each frame begins."""
        labels_N = self.labels(utterance)
        if labels_N is None:
            return np.full(num_frames, NO_LABEL)
        return label_each_frame(labels_N, len(utterance.audio), num_frames, hop_samples)


def mean_over_time(features_TC: Tensor, label: int) -> Examples:
    """One example: the mean of all frames."""
    import torch

    return Examples(features_TC.mean(0, keepdim=True), torch.tensor([label]))
