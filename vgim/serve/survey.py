"""What the page shows of a run before anybody changes anything: utterances, their map, and the dimensions' spread.

Utterances are cut to their first seconds, so that reading them stays short and decoding them at once possible. All
numbers are of the encoder whose latents are decoded, which may be older than the run's.

Shapes: U utterances, T frames, C channels, L samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from vgim.data.pcm import SAMPLE_RATE_HZ, Pcm16
from vgim.data.shards.check import check_shards_present
from vgim.data.shards.manifest import read_manifest
from vgim.data.shards.read import Utterance, read_utterances
from vgim.decode.session import DecoderSession
from vgim.errors import ConfigError, DataError, StorageError
from vgim.model.posterior import gaussian_kl
from vgim.pretrained.audio_input import as_batch
from vgim.pretrained.encoder import FrozenEncoder
from vgim.progress import SILENT, Progress, track
from vgim.storage import Location

MOST_SECONDS = 5
"""Length of the utterances on the page."""
SPLITS = ("validation", "test", "train")
"""Splits in the order in which utterances are looked for."""
FEWEST_TO_MAP = 3
"""Points of which principal components are taken."""


@dataclass(frozen=True)
class Point:
    """An utterance of the shards, and its place on the map."""

    name: str
    speaker: str
    transcript: str
    samples: Pcm16
    xy: tuple[float, float]


@dataclass(frozen=True)
class Dimension:
    """One dimension of the latents over all frames of the utterances."""

    index: int
    information: float | None
    """KL from N(0, 1) in nats per frame; None without a posterior."""
    mean: float | None
    std: float | None
    """Standard deviation of the mean of the posterior, or of the output; None, as the mean, without utterances."""


@dataclass(frozen=True)
class Map:
    """The plane of the first two principal components of the utterances' means over time."""

    mean_C: Tensor
    components_2C: Tensor
    explained: tuple[float, float]
    """Shares of the utterances' variance along the two components."""

    def place(self, latents_BTC: Tensor) -> tuple[float, float]:
        """Where latents [1, T, C] lie on the map."""
        x, y = (self.components_2C @ (latents_BTC[0].double().mean(0).cpu() - self.mean_C)).tolist()
        return x, y


@dataclass(frozen=True)
class Survey:
    """Utterances, their map and the dimensions; without shards there are no utterances."""

    points: tuple[Point, ...]
    map: Map | None
    dimensions: tuple[Dimension, ...]
    """The most informative first: by KL, or by deviation without a posterior."""
    source: str
    """Where the utterances come from, in words; empty if there are none."""
    problem: str = ""
    """Why there are no utterances, and what follows."""


def survey(
    session: DecoderSession,
    shards: str | None,
    most_utterances: int,
    progress: Progress = SILENT,
) -> Survey:
    """Encode the first utterances of a split, and measure their latents.

    Args:
        session: The decoder with its encoder.
        shards: Shard folder; None for the shards that the decoder was trained on, which may be gone.
        most_utterances: Utterances to read.
        progress: Where to report.

    Raises:
        VgimError: `shards` was named and cannot be read.
    """
    num_channels = session.num_channels
    try:
        split, utterances = _utterances(session, shards, most_utterances, progress)
    except (ConfigError, DataError, StorageError) as error:
        if shards is not None:
            raise
        dimensions = tuple(Dimension(index, None, None, None) for index in range(num_channels))
        return Survey((), None, dimensions, "", f"{error}. {_WITHOUT_UTTERANCES}")
    sums = _Sums(num_channels)
    encoding = track(progress, utterances, "looking at the latents", "utterance")
    means = [sums.add(*_distribution(session, utterance.audio)) for utterance in encoding]
    means_UC = torch.stack(means)
    plane = _plane(means_UC)
    places = [(0.0, 0.0)] * len(means) if plane is None else [plane.place(mean[None, None]) for mean in means]
    points = [
        Point(one.utterance_id, one.speaker_id, one.transcript, one.audio, xy)
        for one, xy in zip(utterances, places, strict=True)
    ]
    source = f"the first {len(points)} utterances of the {split} split, at most {MOST_SECONDS} s of each"
    return Survey(tuple(points), plane, sums.dimensions(), source)


_WITHOUT_UTTERANCES = (
    "So there are no utterances and no map, and dimensions are in the order of their index; record or upload a sound, "
    "or name other shards with --shards"
)


def _utterances(
    session: DecoderSession, shards: str | None, most: int, progress: Progress
) -> tuple[str, list[Utterance]]:
    """The first utterances of the first split that has any, and the split's name."""
    folder = Location(shards or session.decoder.config.data.shards)
    manifest = read_manifest(folder)
    check_shards_present(folder, manifest)
    split = next((name for name in SPLITS if manifest.split(name).utterances), "train")
    shortest = session.decoder.encoder.encoder.min_samples(session.decoder.module, session.decoder.layer)
    with progress.stage("reading utterances"):
        found = list(islice(_long_enough(read_utterances(folder, manifest, split), shortest), most))
    if not found:
        raise DataError(
            f"no utterance of the {split} split of {folder.uri} has the {shortest} samples of a frame"
        )
    return split, found


def _long_enough(utterances: Iterator[Utterance], shortest: int) -> Iterator[Utterance]:
    for utterance in utterances:
        if len(utterance.audio) >= shortest:
            # A copy: a slice would keep the whole utterance in memory.
            yield replace(utterance, audio=utterance.audio[: MOST_SECONDS * SAMPLE_RATE_HZ].copy())


@torch.no_grad()
def _distribution(session: DecoderSession, samples: Pcm16) -> tuple[Tensor, Tensor | None]:
    """Mean and standard deviation [T, C] of what is decoded; no deviation without a posterior."""
    frozen: FrozenEncoder = session.decoder.encoder
    module, layer = session.decoder.module, session.decoder.layer
    if layer is not None:
        return session.latents(samples)[0], None
    x = frozen.normalizer(as_batch(samples))
    if module:
        x = frozen.encoder.encode(x, module - 1)
    mean_BTC, std_BTC = frozen.encoder.module(module).distribution(x)
    return mean_BTC[0], None if std_BTC is None else std_BTC[0]


class _Sums:
    """Running sums over frames, so that only one utterance's latents are in memory."""

    def __init__(self, num_channels: int) -> None:
        self._frames = 0
        self._sum_C, self._squares_C, self._kl_C = torch.zeros(3, num_channels, dtype=torch.float64)
        self._has_posterior = False

    def add(self, mean_TC: Tensor, std_TC: Tensor | None) -> Tensor:
        """Add an utterance, and return its mean over time, [C]."""
        mean_TC = mean_TC.double()
        self._frames += len(mean_TC)
        self._sum_C += mean_TC.sum(0)
        self._squares_C += mean_TC.square().sum(0)
        if std_TC is not None:
            self._has_posterior = True
            self._kl_C += gaussian_kl(mean_TC, 2 * std_TC.double().log()).sum(0)
        return mean_TC.mean(0)

    def dimensions(self) -> tuple[Dimension, ...]:
        """The dimensions, the most informative first."""
        mean_C = self._sum_C / self._frames
        std_C = (self._squares_C / self._frames - mean_C.square()).clamp_min(0).sqrt()
        kl_C = self._kl_C / self._frames
        order = (kl_C if self._has_posterior else std_C).argsort(descending=True, stable=True).tolist()
        return tuple(
            Dimension(c, kl_C[c].item() if self._has_posterior else None, mean_C[c].item(), std_C[c].item())
            for c in order
        )


def _plane(means_UC: Tensor) -> Map | None:
    """The principal components of the utterances; None for too few utterances, or if all are the same."""
    if len(means_UC) < FEWEST_TO_MAP or means_UC.shape[1] < 2:
        return None
    mean_C = means_UC.mean(0)
    _, singular, components = torch.linalg.svd(means_UC - mean_C, full_matrices=False)
    total = singular.square().sum()
    if not total > 0:
        return None
    signs = components[:2].gather(1, components[:2].abs().argmax(1, keepdim=True)).sign()
    first, second = (singular[:2].square() / total).tolist()
    return Map(mean_C, components[:2] * signs, (first, second))
