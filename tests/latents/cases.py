"""Small inputs of analyses whose answer is known, and options that keep an analysis of a run small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch

from vgim.arrays import F32, I64
from vgim.downstream.probes.probe import Examples
from vgim.latents.analysis import AnalysisInput
from vgim.latents.frame_labels import Labeling, shared_label
from vgim.latents.frame_sample import WINDOW, FrameSample, Posteriors, sample_frames
from vgim.latents.result import LatentOptions
from vgim.pretrained.opened_run import open_run

SMALL = LatentOptions(
    module=0,
    max_utterances=6,
    max_frames=300,
    map_frames=90,
    information_frames=60,
    density_frames=120,
    subsets=2,
    pairs=2,
    steps=3,
    epsilons=(0.0, 0.001, 0.1),
    device="cpu",
)


def normal(*shape: int, seed: int = 0) -> F32:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def labeled(num: int, seed: int) -> Examples:
    """Examples of two classes that dimension 2 of 5 tells apart."""
    y_N = torch.from_numpy(np.random.default_rng(seed).integers(2, size=num))
    x_NC = torch.from_numpy(normal(num, 5, seed=seed))
    x_NC[:, 2] += 4.0 * y_N - 2
    return Examples(x_NC, y_N)


def two_classes() -> Any:
    """A probe's context with a phone task of two classes."""
    return SimpleNamespace(task=SimpleNamespace(name="phone", classes=("a", "b")), shards=None, manifest=None)


def frames_of(
    mean_NC: F32,
    posteriors: Posteriors | None = None,
    windows_VWC: F32 | None = None,
    utterance_N: I64 | None = None,
    labels: dict[str, I64] | None = None,
) -> FrameSample:
    """Frames of given latents; labels have the classes c0, c1, …"""
    num, num_channels = mean_NC.shape
    utterance_N = np.zeros(num, np.int64) if utterance_N is None else utterance_N
    labels = labels or {}
    utterances = [utterance_N == utterance for utterance in range(int(utterance_N.max()) + 1)]
    return FrameSample(
        mean_NC=mean_NC,
        z_NC=mean_NC,
        posteriors=posteriors,
        windows_VWC=np.zeros((1, WINDOW, num_channels), np.float32) if windows_VWC is None else windows_VWC,
        utterance_N=utterance_N,
        frame_N=np.arange(num),
        utterance_mean_UC=np.stack([mean_NC[own].mean(0) for own in utterances]),
        utterance_ids=tuple(f"utterance{i}" for i in range(int(utterance_N.max()) + 1)),
        labelings=tuple(
            Labeling(name, tuple(f"c{label}" for label in range(int(labels_N.max()) + 1)))
            for name, labels_N in labels.items()
        ),
        labels=labels,
        utterance_labels={
            name: np.array([shared_label(labels_N[own]) for own in utterances])
            for name, labels_N in labels.items()
        },
        hop_samples=160,
    )


def input_of(
    frames: FrameSample | None = None,
    options: LatentOptions = SMALL,
    decoder: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
) -> AnalysisInput:
    """The input of an analysis that reads neither a run nor shards: frames, options and a decoder."""
    return AnalysisInput(
        opened=cast("Any", SimpleNamespace(device=torch.device("cpu"))),
        module=0,
        options=options,
        frames=cast("FrameSample", frames),
        decoder=cast("Any", decoder),
    )


def input_of_run(run: Path, module: int = 0) -> AnalysisInput:
    """The input of an analysis of a trained run, without a decoder."""
    opened = open_run(str(run), device="cpu")
    return AnalysisInput(opened, module, SMALL, sample_frames(opened, module, SMALL), None)
