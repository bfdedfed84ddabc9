"""A bounded, seeded sample of a module's latents over a split, with the labels of its frames.

Shapes: N frames, U utterances, V windows, W frames of a window, T frames of an utterance, C channels, L samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vgim.arrays import F32, I64
from vgim.data.shards.read import read_lengths, read_utterances
from vgim.downstream.features.source import ClipBatch
from vgim.errors import DataError
from vgim.latents.frame_labels import Labeling, labelings, shared_label
from vgim.latents.result import LatentOptions
from vgim.model.randomness import mix, seeded_generator
from vgim.model.stack import Encoder
from vgim.pretrained.opened_run import OpenedRun
from vgim.progress import SILENT, Progress, track

WINDOW = 4
"""Frames of a window: frames in a row, to measure dependence over time."""


class Posteriors(NamedTuple):
    """Means and standard deviations computed as in training: each module reads a sample of the module before it."""

    mu_NC: F32
    std_NC: F32


@dataclass(frozen=True)
class FrameSample:
    """Frames drawn evenly over the first utterances of a split."""

    mean_NC: F32
    """The module's μ, or its output, when each module before it passes μ on; downstream jobs read the same."""
    z_NC: F32
    """A sample of each frame's posterior; `mean_NC` for a module without a posterior."""
    posteriors: Posteriors | None
    """Posteriors of the frames; None for a module without a posterior."""
    windows_VWC: F32
    """z of WINDOW frames in a row."""
    utterance_N: I64
    """Utterance of each frame, counted from 0."""
    frame_N: I64
    """Index of each frame in its utterance."""
    utterance_mean_UC: F32
    """Mean of μ over all frames of each utterance; `mean_NC` holds only some of them."""
    utterance_ids: tuple[str, ...]
    labelings: tuple[Labeling, ...]
    """The ways in which the frames are labeled."""
    labels: dict[str, I64]
    """Class of each frame, [N], by the name of the labeling; NO_LABEL for a frame without a class."""
    utterance_labels: dict[str, I64]
    """The class of all labeled frames of each utterance, [U]; NO_LABEL where frames differ or have none."""
    hop_samples: int
    """Samples between two frames of an utterance."""

    @property
    def num_channels(self) -> int:
        """Dimensions of the latents."""
        return int(self.mean_NC.shape[1])


class _Encoded(NamedTuple):
    mean_TC: Tensor
    z_TC: Tensor
    mu_TC: Tensor | None
    std_TC: Tensor | None


def sample_frames(
    opened: OpenedRun, module: int, options: LatentOptions, progress: Progress = SILENT
) -> FrameSample:
    """Encode the first utterances of the split, whole, and draw frames of each.

    The drawn frames and posterior samples depend on the seed and the utterance only.

    Raises:
        DataError: No utterance is long enough for a frame.
    """
    encoder = opened.encoder.encoder
    hop, shortest = encoder.hop_samples(module), encoder.min_samples(module)
    label_functions = labelings(opened.manifest)
    lengths = list(read_lengths(opened.shards, options.split).values())[: options.max_utterances]
    num_frames = sum(max(0, n // hop) for n in lengths if n >= shortest)
    frame_share = min(1.0, options.max_frames / max(1, num_frames))
    window_share = min(1.0, options.density_frames / max(1, num_frames))
    parts: list[dict[str, NDArray[np.generic]]] = []
    ids: list[str] = []
    utterances = read_utterances(opened.shards, opened.manifest, options.split, options.max_utterances)
    for utterance in track(
        progress, utterances, f"encoding for module {module}", "utterance", total=len(lengths)
    ):
        if len(utterance.audio) < shortest:
            continue
        audio_BL = torch.from_numpy(utterance.audio)[None]
        x_BL = ClipBatch([utterance], audio_BL).normalized(opened.normalizer, opened.device)
        seed = mix("latents", options.seed, utterance.utterance_id)
        encoded = _encode(encoder, x_BL, module, seed)
        rng = np.random.default_rng(seed)
        num = len(encoded.mean_TC)
        kept = np.sort(rng.permutation(num)[: max(1, round(frame_share * num))])
        starts = rng.permutation(max(0, num - WINDOW + 1))[: max(1, round(window_share * num))]
        z_TC = encoded.z_TC.numpy()
        part: dict[str, NDArray[np.generic]] = {
            "mean": encoded.mean_TC.numpy()[kept],
            "z": z_TC[kept],
            "windows": z_TC[starts[:, None] + np.arange(WINDOW)],
            "utterance": np.full(len(kept), len(ids)),
            "utterance_mean": encoded.mean_TC.mean(0, keepdim=True).numpy(),
            "frame": kept,
        }
        if encoded.mu_TC is not None and encoded.std_TC is not None:
            part |= {"mu": encoded.mu_TC.numpy()[kept], "std": encoded.std_TC.numpy()[kept]}
        for labeling, label_frames in label_functions.items():
            labels_T = label_frames(utterance, num, hop)
            part[labeling.name] = labels_T[kept]
            part[f"utterance {labeling.name}"] = np.array([shared_label(labels_T)])
        parts.append(part)
        ids.append(utterance.utterance_id)
    if not parts:
        raise DataError(
            f"none of the {len(lengths)} utterances of the {options.split} split of {opened.shards.uri} has the "
            f"{shortest} samples that module {module} needs for a frame; use another --split or other --shards"
        )
    joined = {name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])}
    posteriors = Posteriors(joined["mu"], joined["std"]) if "mu" in joined else None
    return FrameSample(
        mean_NC=joined["mean"],
        z_NC=joined["z"],
        posteriors=posteriors,
        windows_VWC=joined["windows"],
        utterance_N=joined["utterance"],
        frame_N=joined["frame"],
        utterance_mean_UC=joined["utterance_mean"],
        utterance_ids=tuple(ids),
        labelings=tuple(label_functions),
        labels={labeling.name: joined[labeling.name] for labeling in label_functions},
        utterance_labels={name: joined[f"utterance {name}"] for name, *_ in label_functions},
        hop_samples=hop,
    )


@torch.no_grad()
def _encode(encoder: Encoder, x_BL: Tensor, module: int, seed: int) -> _Encoded:
    """Encode one utterance twice: with μ passed between modules, and with samples as in training."""
    device = x_BL.device
    greedy = encoder.module(module)
    x = x_BL
    for index in range(module):
        x = encoder.module(index).represent(x)
    mean_BTC, std_BTC = greedy.distribution(x)
    if std_BTC is None:
        mean_TC = mean_BTC[0].cpu()
        return _Encoded(mean_TC, mean_TC, None, None)
    generator = seeded_generator(device, seed)
    mu_BTC = mean_BTC
    if module:
        x = x_BL
        for index in range(module):
            x = encoder.module(index).represent(x, generator)
        mu_BTC, std_BTC = greedy.distribution(x)
    assert std_BTC is not None
    eps_BTC = torch.randn(mu_BTC.shape, generator=generator, device=device, dtype=mu_BTC.dtype)
    z_BTC = torch.addcmul(mu_BTC, std_BTC, eps_BTC)
    return _Encoded(mean_BTC[0].cpu(), z_BTC[0].cpu(), mu_BTC[0].cpu(), std_BTC[0].cpu())
